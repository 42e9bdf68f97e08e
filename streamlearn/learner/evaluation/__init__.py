"""How well the learner predicts: drift is detected and candidates are judged by it, so it is part of the state."""
