"""The publisher: checkpoints (private to the learner), snapshots (public), the gate, and retention."""
