"""Fine-tuning: the learner of a stream over a data set at rest, pass after pass, and what comes of it published."""

from streamlearn.commands.finetuning.outcome import Epoch, Outcome, Standing
from streamlearn.commands.finetuning.tuning import finetune

__all__ = ["Epoch", "Outcome", "Standing", "finetune"]
