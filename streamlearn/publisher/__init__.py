"""What leaves: checkpoints (the learner's own), snapshots (everybody's), gate, retention."""
