"""Log lines about refused records: how many and why, at most once a minute, and at once if all are refused."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
GATHER_SECONDS = 2.0  # after the first one, so that a line covers more than one record
SURE = 20  # a line is written at once if this many records are refused from the start
LOOK = (
    "what they are: streamlearn dead-letters list; where the fields of the newest were looked for: "
    "streamlearn check --sample 20"
)


class RefusalLog:
    """Collects refusals for the log.

    Parameters
    ----------
    clock
        A monotonic clock in seconds.

    Examples
    --------
    >>> refusals = RefusalLog()
    >>> refusals.decoded(0)
    >>> for _ in range(20):  # the last of which writes "refused all 20 records since the start: ..."
    ...     refusals.refused("missing_field: label")

    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._untold: Counter[str] = Counter()
        self._first = 0.0  # when the first of them was refused
        self._said: float | None = None
        self._all = 0  # number refused since the start
        self._events = 0
        self._alarmed = False

    def decoded(self, events: int) -> None:
        """Count valid `events`, before the records refused from the same poll."""
        with self._lock:
            self._events += events
            if events and self._alarmed:
                self._alarmed = False
                log.info("the first record is an event, after %d that were refused", self._all)

    def refused(self, why: str) -> None:
        """Count a record that was refused for the reason `why`, which may name a field."""
        with self._lock:
            if not self._untold:
                self._first = self._clock()
            self._untold[why] += 1
            self._all += 1
            if not self._events and self._all >= SURE and not self._alarmed:
                self._say()

    def tell(self) -> None:
        """Log what has been collected, if it is due."""
        now = self._clock()
        with self._lock:
            due = self._said is None or now - self._said >= EVERY_SECONDS
            if self._untold and due and now - self._first >= GATHER_SECONDS:
                self._say()

    def _say(self) -> None:
        reasons = ", ".join(f"{count} {why}" for why, count in self._untold.most_common())
        if self._events:
            log.warning("refused %d records as dead letters: %s", self._untold.total(), reasons)
        else:
            self._alarmed = True
            log.error("refused all %d records since the start: %s; %s", self._all, reasons, LOOK)
        self._untold.clear()
        self._said = self._clock()
