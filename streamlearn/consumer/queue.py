"""The bounded hand-over from the polling thread to the learning thread.

The producer enforces the bound: the polling thread asks `full` and pauses its partitions, because a blocked `put`
would stop it from polling and cost the group membership.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from streamlearn.events import Event, Reason
from streamlearn.records import Arrival, Partition, Record

RECORD_BYTES = 600  # of overhead for a record and its event
HEADER_BYTES = 160  # of overhead for a header


def size_of(records: Sequence[Record], outcomes: Sequence[Event | Reason]) -> int:
    """Return the bytes of memory that `records` and their events take."""
    size = RECORD_BYTES * len(records)
    size += sum([len(record.key or b"") + len(record.value or b"") for record in records])
    size += sum([outcome.text.__sizeof__() for outcome in outcomes if outcome.__class__ is Event])
    for record in records:
        if record.headers:
            size += sum([HEADER_BYTES + len(value or b"") for _, value in record.headers])
    return size


def arrival(
    partition: Partition, records: list[Record], outcomes: list[Event | Reason], *, begin: int, end: int
) -> Arrival:
    """Return `records` with their `outcomes` as an arrival of `partition` from offset `begin` to `end`."""
    return Arrival(*partition, records, outcomes, begin, end, size_of(records, outcomes))


class ArrivalQueue:
    """A first-in-first-out queue of arrivals that counts records and the memory they take.

    Parameters
    ----------
    records, bytes
        The queue counts as full at either of these.

    """

    def __init__(self, *, records: int, bytes: int) -> None:  # noqa: A002 - the unit is the name
        self._most_records, self._most_bytes = records, bytes
        self._arrivals: deque[Arrival] = deque()
        self._records = self._bytes = 0
        self._closed: BaseException | None = None
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._records

    @property
    def full(self) -> bool:
        """Whether the producer should stop for now."""
        return self._records >= self._most_records or self._bytes >= self._most_bytes

    @property
    def drained(self) -> bool:
        """Whether a stopped producer should continue: at half, so that it does not stop and start with every record."""
        return self._records <= self._most_records // 2 and self._bytes <= self._most_bytes // 2

    @property
    def failed(self) -> BaseException | None:
        """The error passed to :meth:`fail`, if any."""
        return self._closed

    def put(self, arrival: Arrival) -> None:
        """Append without ever blocking."""
        with self._changed:
            self._arrivals.append(arrival)
            self._count(arrival, 1)
            self._changed.notify()

    def get(self, timeout: float) -> Arrival | None:
        """Take the oldest arrival, waiting up to `timeout` seconds for one.

        Raises
        ------
        BaseException
            The error passed to :meth:`fail`, once everything queued before it has been taken.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._arrivals or self._closed, timeout)
            if not self._arrivals:
                if self._closed:
                    raise self._closed
                return None
            arrival = self._arrivals.popleft()
            self._count(arrival, -1)
            return arrival

    def put_back(self, arrival: Arrival) -> None:
        """Return an arrival of which only the records before ``start`` were taken."""
        with self._changed:
            self._arrivals.appendleft(arrival)
            self._count(arrival, 1)

    def clear(self) -> None:
        """Drop all that is queued."""
        with self._changed:
            self._arrivals.clear()
            self._records = self._bytes = 0

    def _count(self, arrival: Arrival, sign: int) -> None:
        """Add or subtract what is left of `arrival`."""
        self._records += sign * (len(arrival.records) - arrival.start)
        self._bytes += sign * arrival.bytes

    def fail(self, error: BaseException) -> None:
        """Let the consumer of this queue raise `error` after it has taken what is queued."""
        with self._changed:
            self._closed = error
            self._changed.notify_all()
