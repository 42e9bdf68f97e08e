"""The progress of learning for the user: on the last line of a terminal, or else as a log line a minute."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping

from streamlearn.records import Partition
from streamlearn.reports import Standing
from streamlearn.terminal import STATUS

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
MOMENTS = 10  # over which the rate on a terminal is computed; a second apart


class Progress:
    """Reports the rate, the accuracy, the lag and the refused records.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.

    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moments: deque[tuple[float, int]] = deque(maxlen=MOMENTS)
        self._said: tuple[float, int] | None = None

    def tell(self, standing: Standing, lag: Mapping[Partition, int]) -> None:
        """Report the current state; to be called about once a second."""
        now = self._clock(), standing.counts.total()
        if self._said is None or now[1] < self._said[1]:  # the first call, or another learner's state
            self._said = now
            self._moments.clear()
        self._moments.append(now)
        STATUS.show(f"step {standing.step}: {_in_words(standing, lag, _rate(self._moments[0], now))}")
        if STATUS.on or now[0] - self._said[0] < EVERY_SECONDS:
            return
        if now[1] > self._said[1]:
            log.info("%s", _in_words(standing, lag, _rate(self._said, now)))
        self._said = now


def _rate(before: tuple[float, int], now: tuple[float, int]) -> float:
    return (now[1] - before[1]) / (now[0] - before[0]) if now[0] > before[0] else 0.0


def _in_words(standing: Standing, lag: Mapping[Partition, int], rate: float) -> str:
    right = f"accuracy {standing.accuracy:.3f}" if not math.isnan(standing.accuracy) else "accuracy not known yet"
    if not math.isnan(standing.bits_per_byte):
        right = f"{standing.bits_per_byte:.3f} bits per byte"
    refused = standing.counts["dead_letter"]
    return f"{rate:.3g} records/s, {right}, lag {sum(lag.values())}, {refused} refused in all"
