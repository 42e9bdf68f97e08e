"""What depends on the objective: which updater learns, how its predictions are measured, and what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from streamlearn.config import Config
from streamlearn.events import Event, Label
from streamlearn.learner.classification import Classification
from streamlearn.learner.evaluation.holdout import HoldOut
from streamlearn.learner.language_model import LanguageModel
from streamlearn.reports import StepResult
from streamlearn.state import Export, State, Stateful
from streamlearn.updater.contract import AnyUpdater
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer


class Scored(Protocol):
    """The result of predicting a split of the hold-out."""

    @property
    def events(self) -> int:
        """How many events the split has."""
        ...

    @property
    def unpredictable(self) -> float:
        """The share of events without a valid prediction, 0 if there are no events."""
        ...

    @property
    def figure(self) -> float | None:
        """The figure that the objective is judged by, None if there are no events."""
        ...


class Objective(Protocol):
    """One objective with its updater.

    Attributes
    ----------
    name
        Its name in the configuration.
    detectors
        The signals that are watched for drift.
    references
        How many of the first held-out events are kept for good as a reference.

    """

    name: str
    detectors: Sequence[str]
    references: int

    @property
    def updater(self) -> AnyUpdater:
        """The updater."""
        ...

    @property
    def regularizer(self) -> Regularizer | None:
        """R of L + λR of what is fine-tuned, None where there is none."""
        ...

    @property
    def labels(self) -> Sequence[Label]:
        """The labels known so far; empty if no labels are learnt."""
        ...

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """The running figures, by the name of their state."""
        ...

    @property
    def tells(self) -> bool:
        """Whether a prediction made now is informative."""
        ...

    def signals(self, result: StepResult) -> Mapping[str, Sequence[float]]:
        """Record how the fresh events of a step were predicted, and return each detector's signal, from 0 to 1."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Return the prequential figures by their names in :class:`~streamlearn.reports.Standing`."""
        ...

    def evaluate(self, holdout: HoldOut) -> Mapping[str, Scored]:
        """Return how well the published model does on each split of `holdout`."""
        ...

    def evaluate_transformer(self, holdout: HoldOut) -> Mapping[str, Scored]:
        """Return how well the transformer alone does on each split; empty if nothing else predicts."""
        ...

    @property
    def presentable(self) -> bool:
        """Whether there is anything to publish."""
        ...

    def annealed(self, learnt: Sequence[Event], holdout: HoldOut) -> AbstractContextManager[State | None]:
        """Let the updater be what is published of it meanwhile, for which it may go over the `learnt` events again.

        It yields what :meth:`export` takes; None where that is the updater as it is.
        """
        ...

    def export(self, state: State) -> Export:
        """Return the contents of a snapshot of the updater's `state`."""
        ...

    def describe(self) -> str:
        """Say in a few words what is learnt, and how."""
        ...


def make_objective(config: Config) -> Objective:
    """Return the objective that `config` names; it raises what the updater's constructor raises."""
    if config.updater.objective == LanguageModel.name:
        return LanguageModel(config)
    return Classification(config)
