"""The progress of a fine-tuning: what is stored besides the learner's own state, to continue from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from streamlearn.commands.finetuning.outcome import Epoch
from streamlearn.state import State


@dataclass
class Course:
    """Where a fine-tuning stands.

    Attributes
    ----------
    epoch, taken
        The current pass, and how many of its examples have been taken.
    refused
        The indices of examples on which no step could be taken.
    pooling
        The pooling of the experts after the first pass; empty before.
    epochs
        The completed passes.
    before
        The validation figures before the first pass, as a pass with the number 0; None if there are none.
    seconds
        How long everything has taken so far, and the current pass.

    """

    epoch: int = 1
    taken: int = 0
    refused: list[int] = field(default_factory=list)
    pooling: State = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    before: Epoch | None = None

    @property
    def best(self) -> Epoch | None:
        """The pass after which the validation data were predicted best, the first of equals; None before the first."""
        return min(self.epochs, key=lambda epoch: epoch.validation.choosing, default=None)

    def over(self, *, most: int, patience: int) -> bool:
        """Whether it is finished: after `most` passes, or `patience` in a row without an improvement."""
        best = self.best
        return best is not None and (len(self.epochs) >= most or len(self.epochs) - best.number >= patience)

    def state(self) -> State:
        """Return a copy of it."""
        return {**asdict(self), "refused": list(self.refused), "pooling": dict(self.pooling)}

    @classmethod
    def load(cls, state: State) -> Course:
        """Return the course in a `state` from :meth:`state`."""
        before = Epoch.load(state["before"]) if state.get("before") else None
        return cls(**{**state, "epochs": [Epoch.load(one) for one in state["epochs"]], "before": before})
