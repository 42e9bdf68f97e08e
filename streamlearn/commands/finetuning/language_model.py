"""Fine-tuning of a language model, which is measured in bits per byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlearn.commands.finetuning.card import Wording
from streamlearn.commands.finetuning.figures import CostFigures, Figures
from streamlearn.commands.finetuning.outcome import Outcome
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.learner.language_rehearsal import LanguageRehearsal
from streamlearn.state import State

USE = """\
```python
from transformers import pipeline

go_on = pipeline("text-generation", "this-directory")
```

`streamlearn run --set updater.model=this-directory --set updater.objective=language_model` goes on from it on a stream;
`streamlearn.load_language_model("this-directory").continue_text("a beginning")` continues a text."""
ADAPTED = " What was learnt lies in `adapter/`, too, as peft reads it; it is merged into `model.safetensors`."
SETTINGS = (
    "trains",
    "max_tokens",
    "micro_batch",
    "replay_ratio",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "dropout",
    "regularizer",
    "regularization",
    "seed",
)


class LanguageModel:
    """Learns texts without labels; see :class:`~streamlearn.commands.finetuning.objective.Objective`.

    Parameters
    ----------
    learner
        A learner with the objective ``language_model``.

    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self.rehearsal = LanguageRehearsal(learner)

    @property
    def can_predict_already(self) -> bool:
        """True: it is pre-trained."""
        return True

    def judge(self, events: Sequence[Event], *, pooling: State | None = None) -> CostFigures:  # noqa: ARG002
        """Return the cost of `events`, at least one; there is no pooling to update."""
        return CostFigures.of(self.rehearsal.judge(events))

    def judge_transformer(self, events: Sequence[Event]) -> None:
        """Return None: there is only the transformer."""

    def metrics(self, best: Figures, test: Figures | None, alone: dict[str, float | None]) -> dict[str, Any]:  # noqa: ARG002
        """Return bits per byte and perplexity."""
        standing, splits = self._learner.standing(), {"validation": best, "test": test}
        return {
            "prequential_perplexity": standing.perplexity,
            "prequential_bits_per_byte": standing.bits_per_byte,
            "holdout_bits_per_byte": {
                split: figures.bits_per_byte if isinstance(figures, CostFigures) else None
                for split, figures in splits.items()
            },
        }

    def wording(self, outcome: Outcome, *, adapted: bool) -> Wording:  # noqa: ARG002 - it has no labels
        """Return the wording of the card for a language model."""
        return Wording(
            task="text-generation",
            what="language model",
            reason="its bits per byte on the validation were the fewest",
            judging="Neither the validation nor the test is learnt. Each text is\nread to its end, in pieces of "
            "`updater.max_tokens` where it is longer, and its end is predicted, too.",
            about="",
            use=USE + (ADAPTED if adapted else ""),
            settings=SETTINGS,
        )
