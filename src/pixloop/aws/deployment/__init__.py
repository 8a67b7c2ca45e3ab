"""What serves: an endpoint or a function, deployed, verified, kept or undone."""
