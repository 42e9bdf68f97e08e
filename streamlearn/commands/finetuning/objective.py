"""The parts of fine-tuning that depend on the objective: further passes, their figures, and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from streamlearn.commands.finetuning.card import Wording
from streamlearn.commands.finetuning.classification import Classification
from streamlearn.commands.finetuning.figures import Figures
from streamlearn.commands.finetuning.language_model import LanguageModel
from streamlearn.commands.finetuning.outcome import Outcome
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.state import State


class AnyRehearsal(Protocol):
    """Further passes over events that a learner has learnt."""

    @property
    def gains(self) -> bool:
        """Whether anything gains from a further pass."""
        ...

    def again(self, events: Sequence[Event]) -> int:
        """Take a step on `events`, which have been learnt before; return how many of them were learnt."""
        ...

    def pooling(self) -> State:
        """Return the pooling of the experts; empty if there are none."""
        ...


class Objective(Protocol):
    """One objective, with its learner."""

    @property
    def rehearsal(self) -> AnyRehearsal:
        """Takes further passes."""
        ...

    def judge(self, events: Sequence[Event], *, pooling: State | None = None) -> Figures:
        """Return how well `events`, at least one, are predicted, without learning from them.

        If `pooling` is given, the experts' pooling starts from it and adapts to the events.
        """
        ...

    @property
    def can_predict_already(self) -> bool:
        """Whether there is anything to judge before the first pass."""
        ...

    def judge_transformer(self, events: Sequence[Event]) -> float | None:
        """Return how often the transformer alone is right about `events`; None if that is not a figure of its own."""
        ...

    def metrics(self, best: Figures, test: Figures | None, alone: dict[str, float | None]) -> dict[str, Any]:
        """Return the manifest's entries for the validation, the test, and the transformer `alone` on both."""
        ...

    def wording(self, outcome: Outcome, *, adapted: bool) -> Wording:
        """Return the wording of the model card; `adapted` says whether an adapter is stored with the model."""
        ...


def make_objective(learner: Learner) -> Objective:
    """Return the objective of `learner`."""
    kinds: dict[str, type[Classification | LanguageModel]] = {
        "classification": Classification,
        "language_model": LanguageModel,
    }
    return kinds[learner.objective.name](learner)
