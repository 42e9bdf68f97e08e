"""Whether the loop is alive and ready, and what it is doing in a word."""

from __future__ import annotations

import time
from collections.abc import Callable


class Health:
    """What the probes and the page say about the loop.

    Parameters
    ----------
    timeout
        Seconds without a heartbeat after which it counts as dead.
    clock
        A monotonic clock in seconds.

    Attributes
    ----------
    model_loaded, joined, kafka_answers, active
        What has come about; ``joined`` is the membership of the group, as its active member or a standby.
    fault
        Why learning comes to nothing, in a few words; empty while it comes to something.

    """

    def __init__(self, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._clock = timeout, clock
        self._last = clock()
        self.model_loaded = False
        self.joined = False
        self.kafka_answers = True
        self.active = False
        self.fault = ""

    def beat(self) -> None:
        """Say that the loop came round."""
        self._last = self._clock()

    @property
    def alive(self) -> bool:
        """Whether there was a heartbeat within the timeout."""
        return self._clock() - self._last <= self._timeout

    @property
    def hindrance(self) -> str:
        """What is waited for, the model or the group, or what is at fault; empty where nothing is."""
        if not self.model_loaded:
            return "waiting for the model"
        return self.fault or ("" if self.joined else "waiting for the group")

    @property
    def state(self) -> str:
        """What it is doing, in a word or three."""
        if not self.alive:
            return "not responding"
        if not self.model_loaded:
            return "loading the model"
        if not self.kafka_answers:
            return "waiting for Kafka"
        if self.fault:
            return self.fault
        if self.active:
            return "active"
        return "standby" if self.joined else "waiting for the group"
