"""Serving: load a published model, and predict with it."""
