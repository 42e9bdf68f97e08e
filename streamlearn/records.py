"""Records of Kafka, where they stand, and runs of them: what every room may name."""

from __future__ import annotations

from typing import Any

import msgspec

from streamlearn.events import Event, Reason

Partition = tuple[str, int]  # topic, partition number
Positions = dict[Partition, int]  # the next offset to read, per partition
Topics = dict[str, str]  # the id that the broker gave a topic when it was made, by name; of old brokers none


def by_name(positions: Positions) -> dict[str, int]:
    """Return `positions` as ``topic/partition`` by name, in order."""
    return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(positions.items())}


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
    records: list[Any]
    outcomes: list[Event | Reason]
    begin: int
    end: int  # the next offset to read, once all of it is taken
    bytes: int  # of memory that those records take that have not been taken
    start: int = 0  # the first one that has not been taken
