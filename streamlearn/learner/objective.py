"""What depends on the objective: which updater learns, what is measured of its predictions, and what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from streamlearn.events import Label
from streamlearn.learner.evaluation.holdout import HoldOut, Score
from streamlearn.reports import StepResult
from streamlearn.state import Export, State, Stateful
from streamlearn.updater.contract import AnyUpdater


class Objective(Protocol):
    """One objective with its updater.

    Attributes
    ----------
    updater
        What learns.
    detectors
        The signals in which a drift is looked for.

    """

    detectors: Sequence[str]

    @property
    def updater(self) -> AnyUpdater:
        """What learns."""
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

    def evaluate(self, holdout: HoldOut) -> dict[str, Score]:
        """Return how what is published does on each split of `holdout`."""
        ...

    def evaluate_transformer(self, holdout: HoldOut) -> dict[str, Score]:
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
