"""What survives: checkpoints, the journal behind them, and whose the state directory is."""
