"""How well the learner predicts, which is part of its state: drift and candidates are judged by it."""
