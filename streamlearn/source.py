"""What is asked of a source of events: the contract between where they come from and the loop that learns them.

A source is named by the configuration and made by :func:`streamlearn.consumer.make_source`. It is read by one member of
a group at a time, in *terms*, and everything that has been read can be read again, as the journal names it.
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
    """Who is told what as it happens, on the consumer's own threads."""

    polled: Callable[[float], None] = _unheard
    """Seconds of one poll that brought records, with their decoding."""
    decoded: Callable[[int], None] = _unheard
    """How many of the records that have come are events, before the others are refused."""
    membership: Callable[[bool], None] = _unheard
    """After a rebalance: True, as the active member or as a standby; False when the membership is lost."""
    skipped: Callable[[int], None] = _unheard
    """Records that retention deleted before they were read, and that the policy says to skip."""
    committed: Callable[[], None] = _unheard
    """The group has taken offsets."""
    answers: Callable[[bool], None] = _unheard
    """Every few seconds: whether the source answers."""
    waits: Callable[[str], None] = _unheard
    """What reading waits for from now on: ``topic``, ``learning``, ``dead_letters`` or ``schemas``; empty: for nothing.
    """


@dataclass(frozen=True)
class Sampled:
    """A record that was looked at, and what would become of it, without any of its text."""

    partition: int
    offset: int
    reason: Reason | None
    """Why it would be refused; None where it is an event."""
    detail: str
    """What that is about."""
    found: dict[str, str]
    """Where each field was found, and what it is like."""
    value: str
    """What the value is like."""


class Refusals(Protocol):
    """Where refused records go."""

    @property
    def blocked(self) -> bool:
        """Whether they are not taken, or not fast enough: reading should wait."""
        ...

    def put(self, record: Record, reason: Reason) -> None:
        """Take over `record` without waiting."""
        ...


class Arrivals(Protocol):
    """What has been read and not been taken, in order within each partition."""

    def get(self, timeout: float) -> Arrival | None:
        """Take the oldest arrival, waiting up to `timeout` seconds for one; raise what has ended the reading."""
        ...

    def put_back(self, arrival: Arrival) -> None:
        """Return an arrival of which only the records before ``start`` were taken."""
        ...


class Consumer(Protocol):
    """A member of the group; while it is the active one, it reads the source from given positions."""

    @property
    def queue(self) -> Arrivals:
        """The decoded records."""
        ...

    @property
    def member(self) -> str:
        """The name by which the group knows this member, empty before it has joined."""
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
            What has ended the reading.

        """
        ...

    def read_from(self, positions: Positions, topics: Topics, timeout: float) -> Positions | None:
        """Read on from `positions` in `topics`, and return them with the first offset of each partition beside them.

        None is returned where that has not come about within `timeout` seconds; the error is that of `wait_for_term`.
        """
        ...

    def commit(self, positions: Positions) -> bool:
        """Have `positions` shown to the group; return False where it refuses, because another member is active."""
        ...

    def lag(self, positions: Positions) -> dict[Partition, int]:
        """Return how many records each partition of ours is ahead of `positions`."""
        ...

    def resign(self) -> None:
        """Give the membership up and rejoin, with no claim to be the active member."""
        ...

    def stop(self) -> None:
        """Leave the group and end."""
        ...


class Recorded(Protocol):
    """Ranges that have been read before, read again in the order in which they were taken."""

    def topic_id(self, topic: str) -> str | None:
        """Return the id of `topic` now, None where it has none."""
        ...

    def read(self, wanted: Range) -> Arrival:
        """Return the records of `wanted` that are still there, decoded; BrokerError where they cannot be read."""
        ...

    def close(self) -> None:
        """Read no more."""
        ...


class Source(Protocol):
    """Where events come from."""

    def require(self) -> None:
        """Raise :class:`~streamlearn.errors.BrokerError` where there is nothing to read from."""
        ...

    def describe(self) -> str:
        """Return in one sentence what is there, having looked at a few records; the error is that of `require`."""
        ...

    def detail(self, record: Record, reason: Reason) -> str:
        """Return what `reason`, for which `record` was refused, is about: a field, as a rule; empty where nothing."""
        ...

    def sample(self, count: int) -> list[Sampled]:
        """Return what would become of the newest records, about `count` of them, outside the group."""
        ...

    def topics(self) -> Topics:
        """Return the ids of the topics as they are now."""
        ...

    def retained(self) -> list[Range]:
        """Return what each partition holds now, in order; those that hold nothing, as an empty range."""
        ...

    def require_same(self, before: Topics, now: Topics) -> None:
        """Raise BrokerError where topics were created again and the configuration says to fail then."""
        ...

    def expel(self, member: str) -> None:
        """Remove `member`, which is dead, from the group."""
        ...

    def consumer(self, *, refusals: Refusals, watch: Watch, patience: Patience) -> Consumer:
        """Return a consumer that hands what is no event to `refusals` and waits for the group with `patience`."""
        ...

    def reread(self, ranges: Iterable[Range], *, isolation_level: str) -> Recorded:
        """Begin to read `ranges` again, as they were read under `isolation_level`: which records count."""
        ...
