"""The contract between a source of events and the loop that learns them.

The configuration names a source and :func:`streamlearn.consumer.make_source` creates it. One member of a group reads it
at a time, in *terms*, and everything that has been read can be read again from the offsets in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from streamlearn.events import Reason
from streamlearn.patience import Patience
from streamlearn.records import Arrival, Partition, Positions, Range, Record, Topics


def _unheard(*_: object) -> None:
    """Ignore the report."""


@dataclass(frozen=True)
class Watch:
    """Callbacks for what happens while reading; called on the consumer's own threads."""

    polled: Callable[[float], None] = _unheard
    """The seconds that a poll with records took, decoding included."""
    decoded: Callable[[int], None] = _unheard
    """How many of the polled records are valid events, before the others are refused."""
    membership: Callable[[bool], None] = _unheard
    """After a rebalance: True if this process is a member, active or standby; False when the membership is lost."""
    skipped: Callable[[int], None] = _unheard
    """Records that retention deleted before they were read and that are skipped by policy."""
    committed: Callable[[], None] = _unheard
    """Offsets have been committed to the group."""
    answers: Callable[[bool], None] = _unheard
    """Every few seconds: whether the source answers."""
    waits: Callable[[str], None] = _unheard
    """What reading waits for from now on: ``topic``, ``learning``, ``dead_letters`` or ``schemas``; empty for nothing.
    """


@dataclass(frozen=True)
class Sampled:
    """A sampled record and what would happen to it, without any of its text."""

    partition: int
    offset: int
    reason: Reason | None
    """Why it would be refused; None if it is a valid event."""
    detail: str
    """The field or value that the refusal concerns."""
    found: dict[str, str]
    """Where each field was found, and what kind of value it holds."""
    value: str
    """A description of the value."""


class Refusals(Protocol):
    """Where refused records go."""

    @property
    def blocked(self) -> bool:
        """Whether they cannot be written, or not fast enough, so that reading should wait."""
        ...

    def put(self, record: Record, reason: Reason) -> None:
        """Accept `record` without blocking."""
        ...


class Arrivals(Protocol):
    """A queue of what has been read, in order within each partition."""

    def get(self, timeout: float) -> Arrival | None:
        """Take the oldest arrival, waiting up to `timeout` seconds; raise the error, if any, that ended the reading."""
        ...

    def put_back(self, arrival: Arrival) -> None:
        """Return an arrival of which only the records before ``start`` were taken."""
        ...


class Consumer(Protocol):
    """A member of the group; while it is the active one, it reads the source from the given positions."""

    @property
    def queue(self) -> Arrivals:
        """The decoded records."""
        ...

    @property
    def member(self) -> str:
        """The member id in the group, empty before it has joined."""
        ...

    @property
    def term(self) -> int | None:
        """How often this member has become the active one; None while it is not."""
        ...

    @property
    def topics(self) -> Topics:
        """The ids of the topics that are read."""
        ...

    def start(self) -> None:
        """Join the group; raise :class:`~streamlearn.errors.BrokerError` where it cannot be reached, or refuses."""
        ...

    def wait_for_term(self, after: int, timeout: float) -> int | None:
        """Wait up to `timeout` seconds to be active in a term after the one called `after`, and return it.

        Raises
        ------
        BaseException
            The error that has ended the reading.

        """
        ...

    def read_from(self, positions: Positions, topics: Topics, timeout: float) -> Positions | None:
        """Read on from `positions` in `topics`, and return them with the first offset of each partition beside them.

        None is returned if that takes longer than `timeout` seconds; the errors are those of `wait_for_term`.
        """
        ...

    def commit(self, positions: Positions) -> bool:
        """Commit `positions` to the group; return False if it refuses because another member is active."""
        ...

    def lag(self, positions: Positions) -> dict[Partition, int]:
        """Return how many records `positions` lag behind in each assigned partition."""
        ...

    def resign(self) -> None:
        """Leave the group and rejoin it without a claim to be the active member."""
        ...

    def stop(self) -> None:
        """Leave the group and stop."""
        ...


class Recorded(Protocol):
    """Reads ranges again, in the order in which they were first read."""

    def topic_id(self, topic: str) -> str | None:
        """Return the id of `topic` now, None where it has none."""
        ...

    def read(self, wanted: Range) -> Arrival:
        """Return the records of `wanted` that are still there, decoded; BrokerError where they cannot be read."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class Source(Protocol):
    """Where events come from."""

    def require(self) -> None:
        """Raise :class:`~streamlearn.errors.BrokerError` if there is nothing to read from."""
        ...

    def describe(self) -> str:
        """Read a few records and describe in one sentence what is there; the error is that of `require`."""
        ...

    def detail(self, record: Record, reason: Reason) -> str:
        """Return what the `reason` to refuse `record` concerns, usually a field; empty for nothing in particular."""
        ...

    def sample(self, count: int) -> list[Sampled]:
        """Return what would happen to about `count` of the newest records, read without joining the group."""
        ...

    def topics(self) -> Topics:
        """Return the ids of the topics as they are now."""
        ...

    def retained(self) -> list[Range]:
        """Return the range that each partition retains now, in order; for an empty partition an empty range."""
        ...

    def require_same(self, before: Topics, now: Topics) -> None:
        """Raise BrokerError if topics were re-created and the configuration says to fail then."""
        ...

    def expel(self, member: str) -> None:
        """Remove `member`, which is dead, from the group."""
        ...

    def consumer(self, *, refusals: Refusals, watch: Watch, patience: Patience) -> Consumer:
        """Return a consumer that passes invalid records to `refusals` and waits for the group with `patience`."""
        ...

    def reread(self, ranges: Iterable[Range], *, isolation_level: str) -> Recorded:
        """Begin to read `ranges` again, with the `isolation_level` of the first time: it decides what counts."""
        ...
