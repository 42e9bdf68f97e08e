"""Fills micro-batches from the queue: as many fresh events as one step takes, and every record in between."""

from __future__ import annotations

import sys
from collections.abc import Callable

from streamlearn.learner.draft import Draft
from streamlearn.reports import MicroBatch
from streamlearn.source import Arrivals


class Intake:
    """Draws from the arrivals until a micro-batch is full or has waited long enough.

    Parameters
    ----------
    arrivals
        Where the records come from.
    draft
        Starts a new draft, which decides the outcome of each event.
    size
        Fresh events of a full micro-batch.
    max_wait
        Seconds after which a partial micro-batch is returned, so that a slow topic is still learnt.
    most_bytes
        Bytes at which a partial micro-batch is returned, too: refused records and duplicates must not pile up without
        bound.
    clock
        A monotonic clock in seconds.

    """

    def __init__(
        self,
        arrivals: Arrivals,
        draft: Callable[[], Draft],
        *,
        size: int,
        max_wait: float,
        clock: Callable[[], float],
        most_bytes: int = sys.maxsize,
    ) -> None:
        self._arrivals = arrivals
        self._draft = draft
        self._size = size
        self._max_wait = max_wait
        self._most_bytes = most_bytes
        self._clock = clock

    def next(self, idle: float = 0.5, stopping: Callable[[], bool] = lambda: False) -> MicroBatch:
        """Return the next micro-batch; an empty one after `idle` seconds without any record.

        Once `stopping` returns true no micro-batch is begun, and one already begun takes only what is queued.
        """
        draft = self._draft()
        batch = draft.batch
        deadline = self._clock() + idle
        while len(batch.fresh) < self._size and batch.bytes < self._most_bytes:
            remaining = deadline - self._clock()
            arrival = self._arrivals.get(max(0.0, min(remaining, idle))) if remaining > 0 else None
            if arrival is None:
                if remaining <= 0 or stopping():
                    break
                continue
            if not batch:
                if stopping():
                    self._arrivals.put_back(arrival)
                    break
                deadline = self._clock() + self._max_wait
            draft.take(arrival, size=self._size)
            if arrival.start < len(arrival.records):
                self._arrivals.put_back(arrival)
        return batch
