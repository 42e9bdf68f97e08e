"""A published model in use: load it, and predict with it."""
