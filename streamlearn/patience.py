"""How long to wait for Kafka's acknowledgements and the group; only briefly once the learner is stopping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

ENDING_SECONDS = 8.0
"""Seconds for all waits together after SIGTERM: leaves time for a checkpoint in Kubernetes' usual 30 s."""

LOOK_SECONDS = 0.1  # interval at which `stopping` is checked: a signal handler cannot notify a condition


class Patience:
    """Waits for conditions, only briefly once the learner is stopping.

    Parameters
    ----------
    stopping
        Set when the learner is to stop.
    clock
        A monotonic clock in seconds.

    """

    def __init__(self, stopping: threading.Event | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stopping, self._clock = stopping or threading.Event(), clock
        self._ends: float | None = None

    @property
    def ending(self) -> bool:
        """Whether the learner is stopping."""
        return self._stopping.is_set()

    def left(self, seconds: float) -> float:
        """Return how many of `seconds` may still be spent waiting."""
        if not self.ending:
            return seconds
        if self._ends is None:
            self._ends = self._clock() + ENDING_SECONDS
        return max(0.0, min(seconds, self._ends - self._clock()))

    def wait_for(self, changed: threading.Condition, reached: Callable[[], object], seconds: float) -> bool:
        """Wait, with `changed` held, until `reached` is true, at most so many `seconds`; return whether it is."""
        deadline = self._clock() + seconds
        while not reached():
            left = self.left(deadline - self._clock())
            if left <= 0:
                return False
            changed.wait(min(left, LOOK_SECONDS))
        return True
