"""The pipeline: its definition, the steps in it, and the engine that runs it here."""
