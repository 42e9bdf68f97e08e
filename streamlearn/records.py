"""Kafka records, their positions, and ranges of them: types that every package may import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from streamlearn.events import Event, Reason

Partition = tuple[str, int]  # topic, partition number
Positions = dict[Partition, int]  # the next offset to read, per partition
Topics = dict[str, str]  # topic ids by name, given by the broker at creation; empty with old brokers


def by_name(positions: Positions) -> dict[str, int]:
    """Return `positions` keyed by ``topic/partition``, sorted."""
    return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(positions.items())}


class Record(msgspec.Struct, frozen=True, gc=False):
    """A Kafka record.

    ``timestamp`` is in milliseconds since 1970, None in formats before Kafka 0.10. A null ``key`` or ``value`` is None;
    a value that was not loaded into memory is a :class:`Withheld`, and a header name that is not UTF-8 a
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
    """An empty stand-in for a value that is not loaded into memory, or cannot be read.

    Attributes
    ----------
    reason
        Why the record is refused.
    length
        Bytes of the missing value, or of the whole batch if its records cannot be told apart.
    sha256
        The digest of those bytes, in hexadecimal.

    """

    reason: Reason
    length: int
    sha256: str

    @classmethod
    def of(cls, reason: Reason, *, length: int, sha256: str) -> Withheld:
        """Return the stand-in for a value of `length` bytes."""
        withheld = cls()
        withheld.reason, withheld.length, withheld.sha256 = reason, length, sha256
        return withheld


class HeaderName(str):
    """A header name that is not UTF-8, with an escape for each invalid byte.

    Attributes
    ----------
    raw
        Its bytes.

    """

    __slots__ = ("raw",)
    raw: bytes


def header_name(raw: bytes) -> str:
    """Return `raw` decoded as a header name; a :class:`HeaderName` if it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        name = HeaderName(raw.decode(errors="backslashreplace"))
        name.raw = raw
        return name


class Range(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A range of offsets of one partition, from `first` up to but not including `end`, with `records` records in it."""

    topic: str
    partition: int
    first: int
    end: int
    records: int


class Arrival(msgspec.Struct, gc=False, eq=False):
    """Records of one partition in order, each with its event or the reason why it was refused.

    It may be empty: then there are no records from offset `begin` to `end`, as after an aborted transaction.
    """

    topic: str
    partition: int
    records: list[Record]
    outcomes: list[Event | Reason]
    begin: int
    end: int  # the next offset to read, once all of it is taken
    bytes: int  # memory used by the records not yet taken
    start: int = 0  # the index of the first record not yet taken


class Origin(NamedTuple):
    """The record that was refused: its topic, partition, offset and timestamp."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class DeadLetter:
    """What the dead-letter topic holds about one refused record.

    Attributes
    ----------
    record
        The refused record, with its original partition and offset; for a stub, what is left of it.
    partition, offset
        The position of the dead letter in its topic.
    reason, detail
        Why the record was refused, and which field that concerns.
    refused_at
        When the letter was written, in milliseconds since 1970.
    stub
        Why the dead letter does not contain the record; empty if it does.
    value_length
        Bytes of the record's value, -1 if it was null.

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
