"""How far a fine-tuning has come: what of it is kept, beside the learner's own state, to go on from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from streamlearn.commands.finetuning.figures import load_figures
from streamlearn.commands.finetuning.outcome import Epoch
from streamlearn.state import State


@dataclass
class Course:
    """Where a fine-tuning stands.

    Attributes
    ----------
    epoch, taken
        The pass that is under way, and how many examples of it have been taken.
    refused
        The indices of those on which no step could be taken.
    pooling
        How the experts were pooled after the first pass; empty before.
    epochs
        The passes that have been made.
    seconds
        How long it has taken so far, and of that the pass that is under way.

    """

    epoch: int = 1
    taken: int = 0
    refused: list[int] = field(default_factory=list)
    pooling: State = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best(self) -> Epoch | None:
        """The pass behind which the validation was predicted best, the first of several; None before the first."""
        return min(self.epochs, key=lambda epoch: epoch.validation.choosing, default=None)

    def over(self, *, most: int, patience: int) -> bool:
        """Whether it is at its end: after `most` passes, or `patience` in a row that were no better than the best."""
        best = self.best
        return best is not None and (len(self.epochs) >= most or len(self.epochs) - best.number >= patience)

    def state(self) -> State:
        """Return a copy of it."""
        return {**asdict(self), "refused": list(self.refused), "pooling": dict(self.pooling)}

    @classmethod
    def load(cls, state: State) -> Course:
        """Return what :meth:`state` returned a copy of."""
        epochs = [Epoch(**{**one, "validation": load_figures(one["validation"])}) for one in state["epochs"]]
        return cls(**{**state, "epochs": epochs})
