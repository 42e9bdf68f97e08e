"""What the demo records of a run, for the plot and the summary."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamlearn.reports import StepReport, StepResult

RECENT = 200  # events whose mean loss is shown
LAST = 500  # events at the end of a part whose accuracy is reported
COLD, EARLY = 200, 300  # events allowed for warming up, and those after them whose accuracy is reported


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
        How many records had each outcome.

    """

    numbers: list[int] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    drifts: list[int] = field(default_factory=list)
    publishes: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    _version: int | None = None

    def add(self, report: StepReport, version: int | None) -> None:
        """Add the report of one micro-batch; `version` is the newest published one."""
        self.outcomes.update({outcome.value: count for outcome, count in report.outcomes.items()})
        if report.result and report.result.applied:
            self.numbers += [event.offset for event in report.learnt]
            self._predicted(report.result)
        self.drifts += sorted({rise.event.offset for rise in report.rises} - set(self.drifts))
        if version != self._version:
            self._version = version
            self.publishes.append(self.numbers[-1] if self.numbers else 0)

    def _predicted(self, result: StepResult) -> None:
        self.correct += result.correct.tolist()
        self.losses += result.losses.tolist()

    def headline(self) -> dict[str, str]:
        """Return the figures for the last events, formatted for display."""
        losses = self.losses[-RECENT:]
        return {
            "loss": f"{sum(losses) / len(losses):.3f}" if losses else "-",
            f"accuracy (last {LAST})": f"{self.accuracy(0, self.numbers[-1] + 1):.1%}" if losses else "-",
        }

    @property
    def dealt_with(self) -> int:
        """Records whose outcome is known."""
        return self.outcomes.total()

    def accuracy(self, begin: int, end: float) -> float:
        """Return the accuracy over the last events numbered from `begin` to below `end`."""
        hits = [hit for number, hit in zip(self.numbers, self.correct, strict=True) if begin <= number < end][-LAST:]
        return sum(hits) / len(hits) if hits else float("nan")

    def early_accuracy(self) -> float:
        """Return the accuracy over the first 300 events after the first 200: how soon the model is useful."""
        hits = self.correct[COLD : COLD + EARLY]
        return sum(hits) / len(hits) if hits else float("nan")

    def rolling(self, values: list[float] | list[bool], window: int) -> NDArray[np.float64]:
        """Return the mean of up to `window` values before each one, of shape (events,)."""
        sums = np.cumsum(np.asarray(values, dtype=float))
        before = np.concatenate([np.zeros(min(window, len(sums))), sums[:-window]])
        means: NDArray[np.float64] = (sums - before) / np.minimum(np.arange(1, len(sums) + 1), window)
        return means


@dataclass
class TextRecord(Record):
    """The course of a run of a language model.

    Attributes
    ----------
    nats, sizes
        The cost of each trained text before it was learnt, and its bytes.

    """

    nats: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def _predicted(self, result: StepResult) -> None:
        if result.texts is not None:
            self.nats += result.texts.nats.tolist()
            self.sizes += result.texts.bytes.tolist()

    def headline(self) -> dict[str, str]:
        """Return the bits per byte of the last texts, formatted for display."""
        recent = self.bits_per_byte(range(max(0, len(self.nats) - RECENT), len(self.nats)))
        return {f"bits per byte (last {RECENT})": f"{recent:.3f}" if self.nats else "-"}

    def within(self, begin: int, end: float) -> range:
        """Return the indices of the texts numbered from `begin` to below `end`."""
        places = [place for place, number in enumerate(self.numbers) if begin <= number < end]
        return range(places[0], places[-1] + 1) if places else range(0)

    def bits_per_byte(self, places: range) -> float:
        """Return the bits per byte of the texts at these indices, NaN if there are none."""
        size = sum(self.sizes[place] for place in places)
        return math.fsum(self.nats[place] for place in places) / math.log(2.0) / size if size else math.nan

    def rolling_bits(self, window: int) -> list[float]:
        """Return for each text the bits per byte over up to `window` texts ending with it."""
        return [self.bits_per_byte(range(max(0, end - window), end)) for end in range(1, len(self.nats) + 1)]
