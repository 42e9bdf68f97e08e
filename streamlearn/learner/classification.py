"""The objective ``classification``: the mixture learns labels, and is judged by how often it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from streamlearn.config import Config
from streamlearn.events import Event, Label
from streamlearn.learner.evaluation.holdout import HoldOut, Score
from streamlearn.learner.evaluation.prequential import PrequentialAccuracy
from streamlearn.reports import StepResult
from streamlearn.state import Export, State, Stateful
from streamlearn.updater import Updater
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer
from streamlearn.updater.published import export

CHOICE = 2  # labels needed for a prediction to mean something: with one label it is always right, at a loss of 0


class Classification:
    """Learns labels; see :class:`~streamlearn.learner.objective.Objective`.

    Parameters
    ----------
    config
        The sections ``events``, ``buffer``, ``updater`` and ``monitor`` are read.

    Attributes
    ----------
    accuracy
        Prequential.

    """

    name = "classification"
    detectors: Sequence[str] = ("loss", "error")
    references = 0

    def __init__(self, config: Config) -> None:
        self.updater = Updater(config)
        self.accuracy = PrequentialAccuracy(config.monitor.accuracy_window)

    @property
    def regularizer(self) -> Regularizer | None:
        """R of the transformer; None where there is none."""
        return self.updater.transformer.regularizer if self.updater.transformer else None

    @property
    def labels(self) -> Sequence[Label]:
        """The labels, in the order of the experts' columns."""
        return list(self.updater.labels)

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """The accuracy."""
        return {"accuracy": self.accuracy}

    @property
    def tells(self) -> bool:
        """Whether there are at least two labels to choose from."""
        return len(self.updater.labels) >= CHOICE

    def signals(self, result: StepResult) -> Mapping[str, Sequence[float]]:
        """Return the error, 0 or 1, and 1 − p of the true label for the loss −log p: ADWIN takes values from 0 to 1."""
        self.accuracy.update(result.correct.tolist())
        return {"loss": (-np.expm1(-result.losses)).tolist(), "error": (~result.correct).tolist()}

    def figures(self) -> Mapping[str, float]:
        """Return the accuracy."""
        return {"accuracy": self.accuracy.value}

    def evaluate(self, holdout: HoldOut) -> dict[str, Score]:
        """Return how often the mixture is right."""
        return holdout.evaluate(self.updater.predict)

    def evaluate_transformer(self, holdout: HoldOut) -> dict[str, Score]:
        """Return how often the transformer alone is right; empty without a transformer."""
        return holdout.evaluate(self.updater.predict_with_transformer) if self.updater.transformer else {}

    @property
    def presentable(self) -> bool:
        """Whether there is a label and at least one step has been taken."""
        return bool(self.updater.labels) and self.updater.steps > 0

    def annealed(self, learnt: Sequence[Event], holdout: HoldOut) -> AbstractContextManager[State | None]:
        """Change nothing: the mean of the last weights is an expert of its own, ``averaged``."""
        del learnt, holdout
        return nullcontext()

    def export(self, state: State) -> Export:
        """Return the mixture and its transformer."""
        return export(self.updater, state)

    def describe(self) -> str:
        """Say which labels are known, and the experts."""
        labels = self.labels
        known = f"labels {', '.join(map(str, labels))}" if labels else "labels are discovered"
        return f"{known}; experts {', '.join(self.updater.experts)}"
