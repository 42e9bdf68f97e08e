"""When a checkpoint or a snapshot is due."""

from __future__ import annotations

import time
from collections.abc import Callable


class Triggers:
    """Decides when something is due: after a number of steps or seconds, whichever comes first.

    After an attempt it is due again after as many steps or seconds, until it is done.
    """

    def __init__(
        self, every_steps: int | None, every_seconds: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_steps = every_steps
        self._every_seconds = every_seconds
        self._clock = clock
        self.tried(0)

    def tried(self, step: int) -> None:
        """Restart the count at `step` and the current time."""
        self._tried, self._time = step, self._clock()

    def due(self, step: int, *, done: int) -> bool:
        """Whether enough steps or seconds have passed at `step`, and at least one step since it was `done`."""
        if step <= done:
            return False
        if self._every_steps and step - self._tried >= self._every_steps:
            return True
        return bool(self._every_seconds and self._clock() - self._time >= self._every_seconds)
