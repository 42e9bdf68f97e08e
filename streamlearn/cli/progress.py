"""How far long work has come: one line on a terminal, which is written over, and elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from streamlearn.terminal import say

LINE_SECONDS = 10.0
ERASE = "\x1b[K"  # what stands on a terminal behind the cursor


class ProgressLine:
    """A line on the standard error.

    Parameters
    ----------
    clock
        Seconds, from any point on.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._begun = self._said = clock()

    @property
    def seconds(self) -> float:
        """The time since it began."""
        return self._clock() - self._begun

    @property
    def is_due(self) -> bool:
        """Whether the last line is old enough for the next."""
        return self._clock() - self._said >= (1.0 if self._terminal else LINE_SECONDS)

    def show(self, line: str) -> None:
        """Show `line` in the place of the last one."""
        self._said = self._clock()
        if self._terminal:
            sys.stderr.write(f"\r{line}{ERASE}")
            sys.stderr.flush()
        else:
            say(line, error=True)

    def say(self, line: str) -> None:
        """Say `line`, which stays."""
        self.clear()
        say(line, error=True)

    def clear(self) -> None:
        """Take the line off a terminal again."""
        if self._terminal:
            sys.stderr.write(f"\r{ERASE}")
            sys.stderr.flush()
