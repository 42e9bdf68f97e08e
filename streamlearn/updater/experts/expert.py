"""What an expert is: one learner of labels inside the updater."""

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
    """What an expert found out about a micro-batch, before it moves.

    ``log_probabilities`` is of shape (texts, labels) and ``losses``, which are not weighted, of shape (texts,); both
    are on the CPU. ``norm`` is that of the whole gradient, 0 for an expert that follows none. An expert that prepares
    more than that returns a subclass.
    """

    log_probabilities: Tensor
    losses: Tensor
    norm: float = 0.0


class Expert(Protocol):
    """Learns labels from the features of texts.

    A step has two halves: :meth:`gradients` finds out what is to be learnt and moves nothing, :meth:`apply` moves θ.
    Whatever is decided about a step, as that it is not to be taken, is decided between them.

    Attributes
    ----------
    name
        The key of its state in a checkpoint.
    reads
        The features that it reads beside the token ids.
    replays
        Whether replayed texts are for it too, or only fresh ones, because it remembers by itself.
    columns
        The names of its labels, in the order of its columns.
    random
        What it draws from: neither torch's own generator nor another expert's. Its state is a part of the expert's.

    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[Feature]] = frozenset()
    replays: ClassVar[bool] = True
    columns: list[str]
    random: OwnRandom

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels), on the CPU.

        There is one column where no label is known yet. The row of a text at which the expert raises is NaN.
        """
        ...

    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> Gradients | Reason:
        """Prepare a step on the whole micro-batch, or return the reason why none can be taken.

        θ stays as it is. Where there is a reason, so does the random state.

        Parameters
        ----------
        encoded
            The features of the texts. They include those that :attr:`reads` names.
        targets
            The column of each text's label.
        weights
            The weight of each text in the objective, of shape (texts,); None weighs all alike.
        apart
            Whether no text may meet what another one needs, such as padding.

        Raises
        ------
        DeviceError
            If the device has no memory for it or has failed, which says nothing about the texts.

        """
        ...

    def apply(self, gradients: Gradients) -> None:
        """Move θ by what :meth:`gradients` has just prepared."""
        ...

    def drop(self) -> None:
        """Forget what :meth:`gradients` has prepared. What it drew is drawn; whoever wants it back resets `random`."""
        ...

    def grow(self, name: str) -> None:
        """Give the label `name` a column, and keep what is known of the others."""
        ...

    def shrink(self, count: int) -> None:
        """Take back the columns after the first `count`, on which no step has been taken."""
        ...

    def restart(self) -> None:
        """Begin again as if nothing had been learnt, with the labels known."""
        ...

    @property
    def finite(self) -> bool:
        """Whether its parameters are finite, as far as its predictions do not tell; one that is not is to restart."""
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
    """Return why `expert` can take no step on the texts of `encoded`, None where it can; it takes none."""
    mark = expert.random.mark()
    found = expert.gradients(encoded, targets)
    expert.drop()
    expert.random.reset(mark)
    return found if isinstance(found, Reason) else None
