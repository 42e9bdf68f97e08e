"""The mixture: several experts that predict and learn as one."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamlearn.events import Reason
from streamlearn.state import State
from streamlearn.updater.experts.expert import Expert, Gradients
from streamlearn.updater.features import Encoded
from streamlearn.updater.randomness import Mark

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MixedGradients(Gradients):
    """What the mixture found out about a micro-batch: its own predictions and losses, and ``each`` expert's."""

    each: Sequence[Gradients]


def combine(log_probabilities: Sequence[Tensor]) -> Tensor:
    """Return the log of the mean of the experts' probabilities; each is of shape (texts, labels), and so is this.

    An expert that is alone is taken at its word, to the bit.

    Examples
    --------
    >>> combine([torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()]).exp()
    tensor([[0.7000, 0.3000]])

    """
    if len(log_probabilities) == 1:
        return log_probabilities[0]
    return torch.stack(list(log_probabilities)).logsumexp(0) - math.log(len(log_probabilities))


class Mixture:
    """Experts over the same labels and the same features.

    Parameters
    ----------
    experts
        At least one. Whoever makes a feature that others read comes before them.

    Attributes
    ----------
    reads
        The features that any of them reads beside the token ids.

    """

    def __init__(self, experts: Sequence[Expert]) -> None:
        self._experts = experts
        self.reads = frozenset().union(*(expert.reads for expert in experts))

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels); NaN for a text at which an expert raises."""
        return combine([expert.predict(encoded) for expert in self._experts])

    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> MixedGradients | Reason:
        """Let every expert prepare a step, or return the first reason why one of them cannot take it.

        The parameters and errors are those of :meth:`Expert.gradients`.
        """
        marks, each = self.marks(), []
        for expert in self._experts:
            found = expert.gradients(encoded, targets, weights, apart=apart)
            if isinstance(found, Reason):
                self.drop()
                self.reset(marks)
                return found
            each.append(found)
        log_probabilities = combine([found.log_probabilities for found in each])
        return MixedGradients(
            log_probabilities=log_probabilities,
            losses=each[0].losses if len(each) == 1 else -log_probabilities[range(len(targets)), targets],
            norm=math.hypot(*(found.norm for found in each)),
            each=each,
        )

    def apply(self, gradients: MixedGradients) -> None:
        """Let every expert move by what it has just prepared."""
        for expert, own in zip(self._experts, gradients.each, strict=True):
            expert.apply(own)

    def drop(self) -> None:
        """Let every expert forget what it has prepared."""
        for expert in self._experts:
            expert.drop()

    def grow(self, name: str) -> None:
        """Give the label `name` a column."""
        for expert in self._experts:
            expert.grow(name)

    def shrink(self, count: int) -> None:
        """Take back the columns after the first `count`, on which no step has been taken."""
        for expert in self._experts:
            expert.shrink(count)

    def marks(self) -> list[Mark]:
        """Return where each expert's generator is, to be gone back to."""
        return [expert.random.mark() for expert in self._experts]

    def reset(self, marks: Sequence[Mark]) -> None:
        """Go back, or on, to `marks`."""
        for expert, mark in zip(self._experts, marks, strict=True):
            expert.random.reset(mark)

    def state(self) -> State:
        """Return the state of each expert by its name."""
        return {expert.name: expert.state() for expert in self._experts}

    def load(self, state: State, columns: Sequence[str]) -> None:
        """Continue from `state`, whose labels have the names `columns`; an expert that is not in it starts over.

        Raises
        ------
        RuntimeError, KeyError, ValueError
            If it does not fit the experts.

        """
        if not any(expert.name in state for expert in self._experts):
            raise KeyError(", ".join(expert.name for expert in self._experts))
        for expert in self._experts:
            if expert.name in state:
                expert.load(state[expert.name])
                continue
            log.warning("the checkpoint was made without the expert '%s': it starts over", expert.name)
            for name in columns[len(expert.columns) :]:
                expert.grow(name)
