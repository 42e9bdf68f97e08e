"""Fine-tuning for labels: the mixture is measured by its log loss and its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlearn.commands.finetuning.card import Wording, named
from streamlearn.commands.finetuning.figures import Figures, LabelFigures
from streamlearn.commands.finetuning.outcome import Outcome
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.learner.rehearsal import Rehearsal
from streamlearn.state import State

USE = """\
```python
import streamlearn

labels, probabilities = streamlearn.load("this-directory").predict(["a text"])
```

`streamlearn run --set updater.model=this-directory` goes on from it on a stream. `model.safetensors` is the transformer
alone: `from streamlearn import MeanPooledForSequenceClassification` lets `transformers` load it."""
SETTINGS = (
    "experts",
    "pooling",
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


class Classification:
    """Learns labels; see :class:`~streamlearn.commands.finetuning.objective.Objective`.

    Parameters
    ----------
    learner
        A learner with the objective ``classification``.

    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self.rehearsal = Rehearsal(learner)

    @property
    def can_predict_already(self) -> bool:
        """Whether it starts from a snapshot."""
        return self._learner.updater.warm_from is not None

    def judge(self, events: Sequence[Event], *, pooling: State | None = None) -> LabelFigures:
        """Return how well at least one of `events` is predicted, by the mixture."""
        return LabelFigures.of(events, self.rehearsal.judge(events, pooling=pooling))

    def judge_transformer(self, events: Sequence[Event]) -> float | None:
        """Return how often the transformer alone is right about `events`; None without a transformer."""
        return self.rehearsal.judge_transformer(events)

    def metrics(self, best: Figures, test: Figures | None, alone: dict[str, float | None]) -> dict[str, Any]:
        """Return the accuracies."""
        splits = {"validation": best, "test": test}
        return {
            "prequential_accuracy": self._learner.standing().accuracy,
            "holdout_accuracy": {
                split: figures.accuracy if isinstance(figures, LabelFigures) else None
                for split, figures in splits.items()
            },
            "transformer_holdout_accuracy": alone,
        }

    def wording(self, outcome: Outcome, *, adapted: bool) -> Wording:  # noqa: ARG002 - the adapter is one of many parts
        """Return the wording of the card for a classifier."""
        alone = outcome.transformer_test_accuracy
        beside = "" if alone is None else f"\nThe transformer alone is right about {alone:.4f} of the test.\n"
        return Wording(
            task="text-classification",
            what=f"classifier of {outcome.labels} labels",
            reason="its loss on the validation was least",
            judging="In each epoch the validation is predicted before anything follows it; no expert learns it.",
            about=f"{beside}\nLabels: {named(self._learner.objective.labels)}.\n",
            use=USE,
            settings=SETTINGS,
        )
