"""Decoding of values: one file per format, and what they have in common."""
