"""Channel layers: in-memory and Redis."""
