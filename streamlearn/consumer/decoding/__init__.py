"""What a record's bytes say: one shape of value a file, and what they have in common."""
