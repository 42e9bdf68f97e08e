"""What of a fine-tuning depends on the objective: further passes, their judgement, what is said of the model."""

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
    """Passes over events that a learner has learnt."""

    @property
    def gains(self) -> bool:
        """Whether anything gains from a further pass."""
        ...

    def again(self, events: Sequence[Event]) -> int:
        """Take a step on `events`, which have been learnt before; return on how many it could be taken."""
        ...

    def pooling(self) -> State:
        """Return how experts are pooled; nothing where there are none."""
        ...


class Objective(Protocol):
    """One objective, with the learner that has it."""

    @property
    def rehearsal(self) -> AnyRehearsal:
        """Takes further passes."""
        ...

    def judge(self, events: Sequence[Event], *, pooling: State | None = None) -> Figures:
        """Return how well at least one of `events` is predicted, from which nothing is learnt.

        How experts are pooled follows them, from `pooling` on, where that is given.
        """
        ...

    def judge_transformer(self, events: Sequence[Event]) -> float | None:
        """Return how often the transformer alone is right about `events`; None where that says nothing of its own."""
        ...

    def metrics(self, best: Figures, test: Figures | None, alone: dict[str, float | None]) -> dict[str, Any]:
        """Return what the manifest says of the validation, the test, and the transformer `alone` on both."""
        ...

    def wording(self, outcome: Outcome, *, adapted: bool) -> Wording:
        """Return what the card says of the model; `adapted` says whether its adapter lies beside it."""
        ...


def make_objective(learner: Learner) -> Objective:
    """Return that of `learner`."""
    kinds: dict[str, type[Classification | LanguageModel]] = {
        "classification": Classification,
        "language_model": LanguageModel,
    }
    return kinds[learner.objective.name](learner)
