"""What depends on the objective: which updater learns, what is measured of its predictions, and what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from streamlearn.config import Config
from streamlearn.events import Label
from streamlearn.learner.classification import Classification
from streamlearn.learner.evaluation.holdout import HoldOut
from streamlearn.learner.language_model import LanguageModel
from streamlearn.reports import StepResult
from streamlearn.state import Export, State, Stateful
from streamlearn.updater.contract import AnyUpdater
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer


class Scored(Protocol):
    """What came of predicting a split of the hold-out."""

    @property
    def events(self) -> int:
        """How many events it has."""
        ...

    @property
    def unpredictable(self) -> float:
        """The share of those for which there is no sound prediction, 0 where there is no event."""
        ...

    @property
    def figure(self) -> float | None:
        """What the objective goes by, None where there is no event."""
        ...


class Objective(Protocol):
    """One objective with its updater.

    Attributes
    ----------
    name
        What the configuration calls it.
    detectors
        The signals in which a drift is looked for.
    references
        How many of the first events that are held out stay as a reference.

    """

    name: str
    detectors: Sequence[str]
    references: int

    @property
    def updater(self) -> AnyUpdater:
        """What learns."""
        ...

    @property
    def regularizer(self) -> Regularizer | None:
        """R of L + λR of what is fine-tuned, None where there is none."""
        ...

    @property
    def labels(self) -> Sequence[Label]:
        """The labels known so far; none where none are learnt."""
        ...

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """What is measured, by the name of its state."""
        ...

    @property
    def tells(self) -> bool:
        """Whether a prediction made now says something."""
        ...

    def signals(self, result: StepResult) -> Mapping[str, Sequence[float]]:
        """Take in how the fresh events of a step were predicted, and return each detector's signal, from 0 to 1."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Return the prequential figures by their names in :class:`~streamlearn.reports.Standing`."""
        ...

    def evaluate(self, holdout: HoldOut) -> Mapping[str, Scored]:
        """Return how what is published does on each split of `holdout`."""
        ...

    def evaluate_transformer(self, holdout: HoldOut) -> Mapping[str, Scored]:
        """Return how the transformer alone does on each split, where that is something else; or nothing."""
        ...

    @property
    def presentable(self) -> bool:
        """Whether there is anything to publish."""
        ...

    def export(self, state: State) -> Export:
        """Return what a snapshot of the updater's `state` publishes."""
        ...

    def describe(self) -> str:
        """Say in a few words what is learnt, and by what."""
        ...


def make_objective(config: Config) -> Objective:
    """Return the objective that `config` names; the errors are those of its updater."""
    if config.updater.objective == LanguageModel.name:
        return LanguageModel(config)
    return Classification(config)
