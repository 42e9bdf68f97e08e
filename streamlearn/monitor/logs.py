"""The log: one line per change, for a person or as JSON, with the position in the stream; repeats are suppressed.

No line holds the text of an event, at any level.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from streamlearn.config import Monitor
from streamlearn.masking import masked
from streamlearn.terminal import STATUS, escaped

REPEATS = 5  # lines of one kind
WINDOW_SECONDS = 60.0  # in so many seconds

Place = dict[str, Any]
"""Where the learner is: ``step``, ``version`` and ``positions``."""

START: Place = {"step": 0, "version": 0, "positions": {}}


class Placed(logging.Filter):
    """Adds the position in the stream to every line that does not have another one."""

    def __init__(self, place: Callable[[], Place]) -> None:
        super().__init__()
        self.place = place

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the position to `record` and let it pass."""
        for name, value in self.place().items():
            record.__dict__.setdefault(name, value)
        return True


class RepeatFilter(logging.Filter):
    """Lets a few warnings of a kind pass per minute, and adds the number of suppressed ones to the next.

    Lines are of one kind when the same place in the code wrote them. Our own lines below the level of a warning all
    pass: each is a change of state, and the last one must be true.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, int], list[float]] = {}  # start of the window, lines passed, lines suppressed

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` passes."""
        if record.levelno < logging.WARNING and record.name.startswith("streamlearn"):
            return True
        now = self._clock()
        with self._lock:
            kind = self._kinds.setdefault((record.pathname, record.lineno), [now, 0, 0])
            if now - kind[0] > WINDOW_SECONDS:
                if kind[2]:
                    record.held_back = int(kind[2])
                kind[:] = now, 0, 0
            kind[1] += 1
            kind[2] += kind[1] > REPEATS
            return kind[1] <= REPEATS


class HumanFormatter(logging.Formatter):
    """A line for a person: the step after the level, and the number of suppressed lines at the end."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return `record` as one line, without a traceback."""
        held_back = getattr(record, "held_back", 0)
        line = super().formatMessage(record) + (f" (and {held_back} more like it before)" if held_back else "")
        lines = line.splitlines() if hasattr(record, "_lines") else [line]
        return "\n".join(escaped(masked(line)) for line in lines)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback of `ei`, line by line."""
        return "\n".join(escaped(line) for line in masked(super().formatException(ei)).splitlines())


class MaskedJsonFormatter(JsonFormatter):
    """A line of JSON, in ASCII, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as a line."""
        return masked(super().format(record))


class AboveTheStatus(logging.StreamHandler[Any]):
    """Writes lines above the status line of a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`."""
        with STATUS.away():
            super().emit(record)


def configure(config: Monitor, place: Callable[[], Place]) -> Placed:
    """Send the log to standard error as `config` says, with the position from `place`, which can be replaced later."""
    handler = AboveTheStatus(sys.stderr)
    if config.log_format == "human":
        STATUS.begin()
    handler.addFilter(RepeatFilter())
    placed = Placed(place)
    handler.addFilter(placed)
    if config.log_format == "json":
        fields = ["asctime", "levelname", "name", "message", "step", "version", "positions"]
        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        formatter: logging.Formatter = MaskedJsonFormatter(fields, rename_fields=names, datefmt="%Y-%m-%dT%H:%M:%S%z")
    else:
        formatter = HumanFormatter("%(asctime)s %(levelname)-7s step %(step)d  %(message)s")
    handler.setFormatter(formatter)
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    return placed


def adopt() -> None:
    """Send every library's log to ours, replacing its own handlers."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.handlers:
            logger.handlers.clear()
            logger.propagate = True


def catch() -> None:
    """Log errors that cannot be caught, which Python would otherwise print itself."""
    log = logging.getLogger("streamlearn")

    def unraisable(found: Any) -> None:
        log.error("%s %r", found.err_msg or "ignored in", found.object, exc_info=found.exc_value)

    sys.unraisablehook = unraisable
