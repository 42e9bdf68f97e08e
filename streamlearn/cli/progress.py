"""Progress of long work: one line on a terminal, which is overwritten, or else an occasional line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from streamlearn.terminal import say

LINE_SECONDS = 10.0
ERASE = "\x1b[K"  # clears a terminal's line after the cursor


class ProgressLine:
    """A progress line on standard error.

    Parameters
    ----------
    clock
        A clock in seconds.

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
        """Show `line` in place of the last one."""
        self._said = self._clock()
        if self._terminal:
            sys.stderr.write(f"\r{line}{ERASE}")
            sys.stderr.flush()
        else:
            say(line, error=True)

    def say(self, line: str) -> None:
        """Print `line` permanently."""
        self.clear()
        say(line, error=True)

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal:
            sys.stderr.write(f"\r{ERASE}")
            sys.stderr.flush()
