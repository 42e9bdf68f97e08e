"""Whether the loop is alive and ready, and its state in a word."""

from __future__ import annotations

import time
from collections.abc import Callable


class Health:
    """What the probes and the page report about the loop.

    Parameters
    ----------
    timeout
        Seconds without a heartbeat after which it counts as dead.
    clock
        A monotonic clock in seconds.

    Attributes
    ----------
    model_loaded, joined, kafka_answers, active
        What has been reached so far; ``joined`` is membership of the group, as its active member or a standby.
    fault
        Why nothing can be learnt, in a few words; empty otherwise.

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
        """Record a heartbeat of the loop."""
        self._last = self._clock()

    @property
    def alive(self) -> bool:
        """Whether there was a heartbeat within the timeout."""
        return self._clock() - self._last <= self._timeout

    @property
    def hindrance(self) -> str:
        """What is waited for, the model or the group, or what is wrong; empty if nothing is."""
        if not self.model_loaded:
            return "waiting for the model"
        return self.fault or ("" if self.joined else "waiting for the group")

    @property
    def state(self) -> str:
        """The learner's state in one to three words."""
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
