"""Fine-tuning: runs the learner of a stream over a fixed data set in several passes, and publishes the result."""

from streamlearn.commands.finetuning.outcome import Epoch, Outcome, Standing
from streamlearn.commands.finetuning.tuning import finetune

__all__ = ["Epoch", "Outcome", "Standing", "finetune"]
