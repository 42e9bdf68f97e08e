"""The interface of an expert: one learner of labels inside the updater."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from streamlearn.events import Reason
from streamlearn.state import State
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.randomness import OwnRandom


@dataclass(frozen=True)
class Gradients:
    """An expert's predictions and losses for a micro-batch, prepared before its parameters change.

    ``log_probabilities`` is of shape (texts, labels) and ``losses``, which are not weighted, of shape (texts,); both
    are on the CPU. ``norm`` is the norm of the whole gradient, 0 for an expert without one. An expert that prepares
    more returns a subclass.
    """

    log_probabilities: Tensor
    losses: Tensor
    norm: float = 0.0


class Expert(Protocol):
    """Learns labels from the features of texts.

    A step has two halves: :meth:`gradients` prepares the update and changes nothing, :meth:`apply` changes θ. Decisions
    about a step, such as not to take it, are made between the two.

    Attributes
    ----------
    name
        The key of its state in a checkpoint.
    reads
        The features that it reads besides the token ids.
    replays
        Whether it learns from replayed texts, too, or only from fresh ones, because it has a memory of its own.
    columns
        The names of its labels, in the order of its columns.
    random
        Its own random generator, neither torch's global one nor another expert's. Its state is part of the expert's.

    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[Feature]] = frozenset()
    replays: ClassVar[bool] = True
    columns: list[str]
    random: OwnRandom

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels), on the CPU.

        There is one column if no label is known yet. The row of a text on which the expert raises is NaN.
        """
        ...

    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> Gradients | Reason:
        """Prepare a step on the whole micro-batch, or return the reason why it cannot be taken.

        θ does not change. If a reason is returned, the random state does not change either.

        Parameters
        ----------
        encoded
            The features of the texts, including those named by :attr:`reads`.
        targets
            The column of each text's label.
        weights
            The weight of each text in the objective, of shape (texts,); None weights all equally.
        apart
            Whether each text is processed alone, so that none is affected by the padding of another.

        Raises
        ------
        DeviceError
            If the device runs out of memory or fails, which says nothing about the texts.

        """
        ...

    def apply(self, gradients: Gradients) -> None:
        """Update θ with what :meth:`gradients` has just prepared."""
        ...

    def drop(self) -> None:
        """Discard what :meth:`gradients` has prepared. Random draws are not undone; to undo them, reset `random`."""
        ...

    def grow(self, name: str) -> None:
        """Add a column for the label `name`, and keep what is known about the others."""
        ...

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`, on which no step has been taken."""
        ...

    def restart(self) -> None:
        """Start over as if nothing had been learnt, with the known labels."""
        ...

    @property
    def finite(self) -> bool:
        """Whether its parameters are finite, as far as its predictions do not show it; if not, it must restart."""
        ...

    def state(self) -> State:
        """Return a copy of everything that decides what this expert does next."""
        ...

    def load(self, state: State) -> None:
        """Continue from a state that :meth:`state` returned, growing to its labels.

        Raises
        ------
        RuntimeError, KeyError, ValueError
            If it does not fit this expert.

        """
        ...


def objection(expert: Expert, encoded: Encoded, targets: Sequence[int]) -> Reason | None:
    """Return why `expert` cannot take a step on the texts of `encoded`, or None if it can; no step is taken."""
    mark = expert.random.mark()
    found = expert.gradients(encoded, targets)
    expert.drop()
    expert.random.reset(mark)
    return found if isinstance(found, Reason) else None
