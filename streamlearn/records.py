"""Records of Kafka, where they stand, and runs of them: what every room may name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from streamlearn.events import Event, Reason

Partition = tuple[str, int]  # topic, partition number
Positions = dict[Partition, int]  # the next offset to read, per partition
Topics = dict[str, str]  # the id that the broker gave a topic when it was made, by name; of old brokers none


def by_name(positions: Positions) -> dict[str, int]:
    """Return `positions` as ``topic/partition`` by name, in order."""
    return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(positions.items())}


class Record(msgspec.Struct, frozen=True, gc=False):
    """One of Kafka's records.

    ``timestamp`` is in milliseconds since 1970, None in formats before Kafka 0.10. A null ``key`` or ``value`` is None;
    a value that was not taken into memory is :class:`Withheld`, the name of a header that is not UTF-8
    :class:`HeaderName`.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Withheld(bytes):
    """Stands for the value of a record that is not taken into memory, or that cannot be read; it is empty.

    Attributes
    ----------
    reason
        Why the record is refused.
    length
        Bytes of the value that is missing; of the whole batch, where not even its records can be told apart.
    sha256
        The digest of those bytes, in hexadecimal.

    """

    reason: Reason
    length: int
    sha256: str

    @classmethod
    def of(cls, reason: Reason, *, length: int, sha256: str) -> Withheld:
        """Return what stands for a value of `length` bytes."""
        withheld = cls()
        withheld.reason, withheld.length, withheld.sha256 = reason, length, sha256
        return withheld


class HeaderName(str):
    """The name of a header that is not UTF-8, with an escape for each byte that is none.

    Attributes
    ----------
    raw
        Its bytes.

    """

    __slots__ = ("raw",)
    raw: bytes


def header_name(raw: bytes) -> str:
    """Return the name of a header that `raw` stands for, a :class:`HeaderName` where it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        name = HeaderName(raw.decode(errors="backslashreplace"))
        name.raw = raw
        return name


class Range(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run of offsets of one partition, from `first` to below `end`, in which there were `records` records."""

    topic: str
    partition: int
    first: int
    end: int
    records: int


class Arrival(msgspec.Struct, gc=False, eq=False):
    """Records of one partition in their order, each with the event it holds or the reason of its refusal.

    It may hold none, and only say that there is none from offset `begin` to `end`, as after an aborted transaction.
    """

    topic: str
    partition: int
    records: list[Record]
    outcomes: list[Event | Reason]
    begin: int
    end: int  # the next offset to read, once all of it is taken
    bytes: int  # of memory that those records take that have not been taken
    start: int = 0  # the first one that has not been taken


class Origin(NamedTuple):
    """The record that was refused: where it stands, and its timestamp."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class DeadLetter:
    """What the dead-letter topic tells of one refused record.

    Attributes
    ----------
    record
        The record that was refused, with its own place; of a stub, what is left of it.
    partition, offset
        Where the letter stands in the dead-letter topic.
    reason, detail
        Why the record was refused, and the field that this is about.
    refused_at
        When the letter was written, in milliseconds since 1970.
    stub
        Why the letter does not hold the record; empty where it does.
    value_length
        Bytes of the record's value, -1 where it was null.

    """

    record: Record
    partition: int
    offset: int
    reason: str
    detail: str
    refused_at: int
    stub: str
    value_length: int

    @property
    def origin(self) -> Origin:
        """Which record was refused."""
        record = self.record
        return Origin(record.topic, record.partition, record.offset, record.timestamp)

    @property
    def why(self) -> str:
        """The reason with its field: ``missing_field: label``."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
