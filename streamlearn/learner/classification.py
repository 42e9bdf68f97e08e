"""The objective ``classification``: the mixture learns labels, and is judged by how often it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from streamlearn.config import Config
from streamlearn.events import Label
from streamlearn.learner.evaluation.holdout import HoldOut, Score
from streamlearn.learner.evaluation.prequential import PrequentialAccuracy
from streamlearn.reports import StepResult
from streamlearn.state import Export, State, Stateful
from streamlearn.updater import Updater
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer
from streamlearn.updater.published import export

CHOICE = 2  # labels from which on a prediction says something: a label that is alone is always right, at a loss of 0


class Classification:
    """Labels, as :class:`~streamlearn.learner.objective.Objective` says.

    Parameters
    ----------
    config
        The sections ``events``, ``buffer``, ``updater`` and ``monitor`` count.

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
        """Whether there is a choice among labels."""
        return len(self.updater.labels) >= CHOICE

    def signals(self, result: StepResult) -> Mapping[str, Sequence[float]]:
        """Return the error, 1 or 0, and of the loss −log p of the true label 1 − p: ADWIN's bound is for 0 to 1."""
        self.accuracy.update(result.correct.tolist())
        return {"loss": (-np.expm1(-result.losses)).tolist(), "error": (~result.correct).tolist()}

    def figures(self) -> Mapping[str, float]:
        """Return the accuracy."""
        return {"accuracy": self.accuracy.value}

    def evaluate(self, holdout: HoldOut) -> dict[str, Score]:
        """Return how often the mixture is right."""
        return holdout.evaluate(self.updater.predict)

    def evaluate_transformer(self, holdout: HoldOut) -> dict[str, Score]:
        """Return how often the transformer alone is right; nothing where there is none."""
        return holdout.evaluate(self.updater.predict_with_transformer) if self.updater.transformer else {}

    @property
    def presentable(self) -> bool:
        """Whether there is a label, and a step on it."""
        return bool(self.updater.labels) and self.updater.steps > 0

    def export(self, state: State) -> Export:
        """Return the mixture with its transformer."""
        return export(self.updater, state)

    def describe(self) -> str:
        """Say which labels are known, and the experts."""
        labels = self.labels
        known = f"labels {', '.join(map(str, labels))}" if labels else "labels are discovered"
        return f"{known}; experts {', '.join(self.updater.experts)}"
