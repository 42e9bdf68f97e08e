"""The mixture: several experts that predict and learn as one."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from streamlearn.events import Reason
from streamlearn.state import State
from streamlearn.updater.experts.expert import Expert, Gradients
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.lexical import Lexical
from streamlearn.updater.pool import Pool
from streamlearn.updater.randomness import Mark

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MixedGradients(Gradients):
    """What the mixture found out about a micro-batch: its own predictions and losses, and ``each`` expert's.

    ``fresh`` are the features of the texts that were not replayed, which come first, and ``targets`` are their labels'
    columns: it is they that experts which remember by themselves learn, and that say how good each expert is.
    """

    each: Sequence[Gradients]
    fresh: Encoded
    targets: Sequence[int]


class Mixture:
    """Experts over the same labels and the same features. One that is alone is taken at its word, to the bit.

    Parameters
    ----------
    experts
        At least one. Whoever makes a feature that others read comes before them.
    lexical
        Makes the features that need no forward pass, of which :attr:`reads` names those that are read.

    Attributes
    ----------
    reads
        The features that any of them reads beside the token ids.

    """

    def __init__(self, experts: Sequence[Expert], lexical: Callable[[frozenset[Feature]], Lexical]) -> None:
        self._experts = experts
        self.reads: frozenset[Feature] = frozenset().union(*(expert.reads for expert in experts))
        self._lexical = lexical(self.reads)
        self._pool = Pool(len(experts)) if len(experts) > 1 else None

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels); NaN for a text at which the only expert raises."""
        self._lexical.add(encoded)
        return self._pooled([expert.predict(encoded) for expert in self._experts])

    def gradients(
        self,
        encoded: Encoded,
        targets: Sequence[int],
        weights: Sequence[float] | None = None,
        *,
        fresh: int | None = None,
        apart: bool = False,
    ) -> MixedGradients | Reason:
        """Let every expert prepare a step, or return the first reason why one of them cannot take it.

        The first `fresh` texts, or all, have not been learnt before. The other parameters and the errors are those of
        :meth:`Expert.gradients`. Of shape (fresh,) or (fresh, labels) is what comes of several experts.
        """
        fresh = len(encoded) if fresh is None else fresh
        marks, each = self.marks(), list[Gradients]()
        new = encoded.first(fresh)
        self._lexical.add(new, in_a_row=True)
        for expert in self._experts:
            if expert.replays:
                found = expert.gradients(encoded, targets, weights, apart=apart)
                new.pooled = encoded.first(fresh).pooled
            else:
                found = expert.gradients(new, targets[:fresh], weights and weights[:fresh], apart=apart)
            if isinstance(found, Reason):
                self.drop()
                self.reset(marks)
                return found
            each.append(found)
        if not self._pool:
            (alone,) = each
            return MixedGradients(
                alone.log_probabilities, alone.losses, alone.norm, each=each, fresh=new, targets=targets[:fresh]
            )
        log_probabilities = self._pool.predict([found.log_probabilities[:fresh] for found in each])
        losses = -log_probabilities[range(fresh), list(targets[:fresh])].float()
        norm = math.hypot(*(found.norm for found in each))
        return MixedGradients(log_probabilities, losses, norm, each=each, fresh=new, targets=targets[:fresh])

    def _pooled(self, each: Sequence[Tensor]) -> Tensor:
        return self._pool.predict(each) if self._pool else each[0]

    def apply(self, gradients: MixedGradients) -> None:
        """Let every expert, the features and the pool move by what has just been prepared."""
        for expert, own in zip(self._experts, gradients.each, strict=True):
            expert.apply(own)
        self._lexical.take_in(gradients.fresh)
        if self._pool:
            count = len(gradients.fresh)
            self._pool.learn([own.log_probabilities[:count] for own in gradients.each], gradients.targets)

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
        """Return the state of each expert by its name, and where there are several, of what they share."""
        state = {expert.name: expert.state() for expert in self._experts}
        if not self._pool:
            return state
        pool = {**self._pool.state(), "experts": [expert.name for expert in self._experts]}
        return {**state, "features": self._lexical.state(), "pool": pool}

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
        self._lexical.load(state.get("features", {}))
        before = state.get("pool", {}).get("experts", [])
        for name in sorted(set(before) - {expert.name for expert in self._experts}):
            log.warning("the checkpoint was made with the expert '%s' too: what it has learnt is dropped", name)
        if self._pool and before:
            known = {expert.name: before.index(expert.name) for expert in self._experts if expert.name in before}
            self._pool.load(state["pool"], [known.get(expert.name) for expert in self._experts])
