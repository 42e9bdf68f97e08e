"""What the demo remembers of a run, to draw and to sum up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamlearn.reports import StepReport

LAST = 500  # events at the end of a part whose accuracy is reported
COLD, EARLY = 200, 300  # events that a start may take, and those after them whose accuracy is reported


@dataclass
class Record:
    """The course of a run over one partition, where an offset is the number of an event.

    Attributes
    ----------
    numbers, correct, losses
        Of each trained event: its number, whether it was predicted correctly, its loss.
    drifts, publishes
        The numbers of the events at which a drift was detected, and the newest one learnt at each publication.
    outcomes
        How many records became what.

    """

    numbers: list[int] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    drifts: list[int] = field(default_factory=list)
    publishes: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    _version: int | None = None

    def add(self, report: StepReport, version: int | None) -> None:
        """Take in what one micro-batch did; `version` is the newest published one."""
        self.outcomes.update({outcome.value: count for outcome, count in report.outcomes.items()})
        if report.result and report.result.applied:
            self.numbers += [event.offset for event in report.learnt]
            self.correct += report.result.correct.tolist()
            self.losses += report.result.losses.tolist()
        self.drifts += sorted({rise.event.offset for rise in report.rises} - set(self.drifts))
        if version != self._version:
            self._version = version
            self.publishes.append(self.numbers[-1] if self.numbers else 0)

    @property
    def dealt_with(self) -> int:
        """Records of which it is known what became of them."""
        return self.outcomes.total()

    def accuracy(self, begin: int, end: float) -> float:
        """Return the accuracy over the last events numbered from `begin` to below `end`."""
        hits = [hit for number, hit in zip(self.numbers, self.correct, strict=True) if begin <= number < end][-LAST:]
        return sum(hits) / len(hits) if hits else float("nan")

    def early_accuracy(self) -> float:
        """Return the accuracy over the first 300 events after the first 200: how soon it is of use."""
        hits = self.correct[COLD : COLD + EARLY]
        return sum(hits) / len(hits) if hits else float("nan")

    def rolling(self, values: list[float] | list[bool], window: int) -> NDArray[np.float64]:
        """Return the mean of up to `window` values before each one, of shape (events,)."""
        sums = np.cumsum(np.asarray(values, dtype=float))
        before = np.concatenate([np.zeros(min(window, len(sums))), sums[:-window]])
        means: NDArray[np.float64] = (sums - before) / np.minimum(np.arange(1, len(sums) + 1), window)
        return means
