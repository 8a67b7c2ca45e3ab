"""What it will cost, and what costs now."""
