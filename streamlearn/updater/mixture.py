"""The mixture: several experts that together predict and learn like one."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamlearn.errors import DeviceError
from streamlearn.events import Reason
from streamlearn.reports import ExpertReport
from streamlearn.state import State
from streamlearn.updater.experts.expert import Expert, Gradients, objection
from streamlearn.updater.extraction import FeatureExtractor
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.pool import Pool
from streamlearn.updater.randomness import Mark

NOT_FINITE = "not_finite"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MixedGradients(Gradients):
    """The mixture's predictions and losses for a micro-batch, and those of ``each`` expert.

    ``fresh`` are the features of the texts that were not replayed, which come first, and ``targets`` the columns of
    their labels. Experts with a memory of their own learn only these, and only these measure how good each expert is.
    """

    each: Sequence[Gradients]
    fresh: Encoded
    targets: Sequence[int]


class Mixture:
    """Experts over the same labels and the same features. A single expert's predictions are used unchanged, to the bit.

    Parameters
    ----------
    experts
        At least one. An expert that produces a feature must come before the experts that read it.
    extractor
        Computes the features that they read.

    Attributes
    ----------
    experts
        As given.
    reads
        The features that any of them reads besides the token ids.
    reports, dropped
        How each expert that took part did in the last step, and why the others were left out of it, by name.

    """

    def __init__(self, experts: Sequence[Expert], extractor: FeatureExtractor) -> None:
        self.experts = experts
        self.reads: frozenset[Feature] = reads(experts)
        self.reports: Mapping[str, ExpertReport] = {}
        self.dropped: Mapping[str, str] = {}
        self._extractor = extractor
        self._pool = Pool(len(experts)) if len(experts) > 1 else None

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels); NaN for a text on which every expert raises."""
        if not self._extract(encoded):
            if len(encoded) == 1:
                return torch.full((1, max(1, len(self.experts[0].columns))), math.nan)
            halves = range(len(encoded) // 2), range(len(encoded) // 2, len(encoded))
            return torch.cat([self.predict(encoded.take(half)) for half in halves])
        each = self.predict_each(encoded)
        return self._pool.predict(each) if self._pool else each[0]

    def _extract(self, encoded: Encoded, *, in_a_row: bool = False) -> bool:
        """Compute the features of `encoded`, and return whether the frozen model can process its texts."""
        try:
            self._extractor.add(encoded, in_a_row=in_a_row)
        except DeviceError:
            raise
        except Exception:  # noqa: BLE001 - whatever the frozen model raises for a text is that text's affair
            return False
        return True

    def predict_each(self, encoded: Encoded) -> list[Tensor]:
        """Return each expert's own log-probabilities of texts whose features have been computed."""
        return [expert.predict(encoded) for expert in self.experts]

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
        :meth:`Expert.gradients`. With several experts, what is returned is of shape (fresh,) or (fresh, labels).
        """
        fresh = len(encoded) if fresh is None else fresh
        marks, each = self.marks(), list[Gradients]()
        new = encoded.first(fresh)
        if not self._extract(new, in_a_row=True):
            return Reason.MODEL_ERROR
        if not new.finite:
            return Reason.NOT_FINITE
        for expert in self.experts:
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

    def follow(self, encoded: Encoded, targets: Sequence[int | None]) -> Tensor:
        """Return what :meth:`predict` does for texts that no expert learns, and let only the pool learn from them.

        It skips texts whose label no expert knows, which have no target, and texts without a prediction.
        """
        if self._pool is None or not self._extract(encoded):
            return self.predict(encoded)
        each = self.predict_each(encoded)
        predicted = self._pool.predict(each)
        finite = predicted.isfinite().all(-1).tolist()
        told = {row: target for row, target in enumerate(targets) if target is not None and finite[row]}
        if told:
            self._pool.learn([one[list(told)] for one in each], list(told.values()))
        return predicted

    def apply(self, gradients: MixedGradients) -> None:
        """Update every expert, the features and the pool with what has just been prepared.

        An expert that is not finite any more starts over.
        """
        for expert, own in zip(self.experts, gradients.each, strict=True):
            expert.apply(own)
        self._extractor.take_in(gradients.fresh)
        if not self._pool:
            return
        count = len(gradients.fresh)
        each = [own.log_probabilities[:count] for own in gradients.each]
        before = list(self._pool.left_out)
        losses = self._pool.learn(each, gradients.targets)
        self._say(before)
        lost = [
            expert.name
            for expert, predicted in zip(self.experts, each, strict=True)
            if not (expert.finite and bool(torch.isfinite(predicted).all()))
        ]
        self.restart(lost)
        self._report(losses)

    def restart(self, names: Sequence[str]) -> None:
        """Restart the experts with these `names`, and leave them out until they are better than guessing."""
        if not self._pool or not names:
            return
        before = list(self._pool.left_out)
        for index, expert in enumerate(self.experts):
            if expert.name in names:
                expert.restart()
                self._pool.leave_out(index, NOT_FINITE, anew=True)
        self._say(before)

    def unsound(self, encoded: Encoded, targets: Sequence[int]) -> list[str]:
        """Return the names of the experts that fail on most of the texts of `encoded`, whose labels are in `targets`.

        An expert fails on a text if its prediction is not finite, or if it cannot take a step on it.
        """
        if not self._extract(encoded):  # then the cause is not a single expert
            return [expert.name for expert in self.experts]
        lost = list[str]()
        for expert, predicted in zip(self.experts, self.predict_each(encoded), strict=True):
            good = torch.isfinite(predicted).all(-1).tolist()
            able = [fine and self._can_step(expert, encoded, row, targets[row]) for row, fine in enumerate(good)]
            if 2 * sum(able) < len(able):
                lost.append(expert.name)
        return lost

    def _can_step(self, expert: Expert, encoded: Encoded, row: int, target: int) -> bool:
        """Whether `expert` could take a step on one of the texts; no step is taken."""
        if not expert.replays:  # and it has no gradient that could fail
            return True
        return objection(expert, encoded.take([row]), [target]) is None

    def _say(self, before: Sequence[str]) -> None:
        assert self._pool  # noqa: S101 - whoever asks has one
        for expert, was, now in zip(self.experts, before, self._pool.left_out, strict=True):
            if now and not was:
                why = "is not finite any more and starts over" if now == NOT_FINITE else "has a loss that runs away"
                log.warning("the expert '%s' is left out of the mixture: it %s", expert.name, why)
            elif was and not now:
                log.info("the expert '%s' is back in the mixture", expert.name)

    def _report(self, losses: Sequence[float]) -> None:
        assert self._pool  # noqa: S101 - whoever asks has one
        found = zip(self.experts, self._pool.left_out, self._pool.weights, losses, strict=True)
        self.reports = {e.name: ExpertReport(weight, loss) for e, reason, weight, loss in found if not reason}
        self.dropped = {e.name: reason for e, reason in zip(self.experts, self._pool.left_out, strict=True) if reason}

    def drop(self) -> None:
        """Let every expert discard what it has prepared."""
        for expert in self.experts:
            expert.drop()

    def grow(self, name: str) -> None:
        """Add a column for the label `name`."""
        for expert in self.experts:
            expert.grow(name)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`, on which no step has been taken."""
        for expert in self.experts:
            expert.shrink(count)

    def marks(self) -> list[Mark]:
        """Return the state of each expert's generator, for :meth:`reset`."""
        return [expert.random.mark() for expert in self.experts]

    def reset(self, marks: Sequence[Mark]) -> None:
        """Set the generators to `marks`."""
        for expert, mark in zip(self.experts, marks, strict=True):
            expert.random.reset(mark)

    def state(self) -> State:
        """Return the state of each expert by name, and with several experts that of what they share."""
        state: State = {expert.name: expert.state() for expert in self.experts}
        if features := self._extractor.state():
            state["features"] = features
        if self._pool:
            state["pool"] = {**self._pool.state(), "experts": [expert.name for expert in self.experts]}
        return state

    def pooling(self) -> State:
        """Return the state of the pooling, for :meth:`load_pooling`."""
        return self._pool.state() if self._pool else {}

    def load_pooling(self, state: State) -> None:
        """Restore the pooling of `state`; the experts must be the same."""
        if self._pool:
            self._pool.load(state, range(len(self.experts)))

    def load(self, state: State, columns: Sequence[str], *, as_they_are: Collection[str] = ()) -> None:
        """Continue from `state`, whose labels have the names `columns`; an expert that is not in it starts over.

        The experts named `as_they_are` are already in the right state.

        Raises
        ------
        RuntimeError, KeyError, ValueError
            If it does not fit the experts.

        """
        if not any(expert.name in state or expert.name in as_they_are for expert in self.experts):
            raise KeyError(", ".join(expert.name for expert in self.experts))
        for expert in self.experts:
            if expert.name in as_they_are:
                continue
            if expert.name in state:
                expert.load(state[expert.name])
                continue
            log.warning("the checkpoint was made without the expert '%s': it starts over", expert.name)
            for name in columns[len(expert.columns) :]:
                expert.grow(name)
        self._extractor.load(state.get("features", {}))
        before = state.get("pool", {}).get("experts", [])
        for name in sorted(set(before) - {expert.name for expert in self.experts}):
            log.warning("the checkpoint was made with the expert '%s' too: what it has learnt is dropped", name)
        if self._pool and before:
            known = {expert.name: before.index(expert.name) for expert in self.experts if expert.name in before}
            self._pool.load(state["pool"], [known.get(expert.name) for expert in self.experts])


def reads(experts: Sequence[Expert]) -> frozenset[Feature]:
    """Return the features that any of `experts` reads besides the token ids."""
    return frozenset().union(*(expert.reads for expert in experts))
