"""What survives a crash: checkpoints, the journal after them, and the claim on the state directory."""
