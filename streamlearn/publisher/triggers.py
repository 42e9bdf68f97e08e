"""When a checkpoint or a snapshot is due."""

from __future__ import annotations

import time
from collections.abc import Callable


class Triggers:
    """Says when something is due, by steps, by seconds, or by whichever comes first.

    What has been tried is due again after as many steps or seconds, until it is done.

    Attributes
    ----------
    since
        The step at which it was last done.

    """

    def __init__(
        self, every_steps: int | None, every_seconds: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.since = 0
        self._every_steps = every_steps
        self._every_seconds = every_seconds
        self._clock = clock
        self.reset(0)

    def reset(self, step: int) -> None:
        """Start counting anew from `step`, at which it was done."""
        self.since = step
        self.tried(step)

    def tried(self, step: int) -> None:
        """Count from `step` and now to when it is due again."""
        self._tried, self._time = step, self._clock()

    def due(self, step: int) -> bool:
        """Whether enough steps have been made, or enough seconds have passed with at least one step."""
        if step <= self.since:
            return False
        if self._every_steps and step - self._tried >= self._every_steps:
            return True
        return bool(self._every_seconds and self._clock() - self._time >= self._every_seconds)
