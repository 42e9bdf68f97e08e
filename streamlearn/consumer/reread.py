"""Reads ranges of offsets from the journal again, without joining the group."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack, closing
from typing import Any

from kafka import TopicPartition
from kafka.errors import OffsetOutOfRangeError

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence, make_consumer
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.queue import arrival, size_of
from streamlearn.errors import UnavailableError
from streamlearn.events import Event, Reason
from streamlearn.records import Arrival, Partition, Positions, Range, Record

POLL_MILLISECONDS = 500
AHEAD_BYTES = 16 * 2**20  # of memory for records that are read ahead


def retained(config: Kafka) -> list[Range]:
    """Return the range that each partition retains now, in order, as far as ``isolation_level`` can read it.

    Raises
    ------
    BrokerError
        If Kafka cannot be asked.

    """
    with as_sentence(config), closing(make_consumer(config)) as client:
        numbers = sorted(client.partitions_for_topic(config.topic) or ())
        partitions = [TopicPartition(config.topic, number) for number in numbers]
        first, end = client.beginning_offsets(partitions), client.end_offsets(partitions)
    return [Range(p.topic, p.partition, first[p], end[p], end[p] - first[p]) for p in partitions]


class Rereader:
    """Reads ranges in the order in which they were taken; per partition their offsets never go back.

    Parameters
    ----------
    config
        The section ``kafka``.
    decoder
        Decodes records into events, like the consumer's.
    ranges
        All ranges that will be read: they decide where reading begins.

    Raises
    ------
    UnavailableError
        If Kafka does not answer.
    BrokerError
        If it refuses.

    """

    def __init__(self, config: Kafka, decoder: Decoder, ranges: Iterable[Range]) -> None:
        self._config, self._decode = config, decoder.decode
        begins: Positions = {}
        self._until: Positions = {}  # per partition, the end of the last range
        for wanted in ranges:
            partition = (wanted.topic, wanted.partition)
            begins.setdefault(partition, wanted.first)
            self._until[partition] = wanted.end
        self._held: dict[Partition, deque[tuple[Record, Event | Reason, int]]] = {key: deque() for key in begins}
        self._bytes = 0  # of all records held
        self._reached: Positions = {}  # per partition, the offset up to which everything has been read
        with as_sentence(config):
            self._client = make_consumer(config)
        partitions = [TopicPartition(*key) for key in begins]
        with ExitStack() as unless_it_works, as_sentence(config):
            unless_it_works.callback(self.close)
            self._client.assign(partitions)
            starts = self._client.beginning_offsets(partitions)
            ends = self._client.end_offsets(partitions)
            unless_it_works.pop_all()
        self._ends: Positions = {(p.topic, p.partition): end for p, end in ends.items()}
        for topic_partition in partitions:
            key = (topic_partition.topic, topic_partition.partition)
            self._reached[key] = max(begins[key], starts[topic_partition])
            self._client.seek(topic_partition, self._reached[key])

    def topic_id(self, topic: str) -> str | None:
        """Return the id of `topic`, or None if the broker has no topic ids."""
        identity: str | None = self._client.topic_id(topic)
        return identity

    def read(self, wanted: Range) -> Arrival:
        """Return the records of `wanted` that are still there, decoded; fewer than recorded if some were deleted.

        Raises
        ------
        UnavailableError
            If Kafka does not answer within the time for a connection.
        BrokerError
            If it refuses.

        """
        partition = (wanted.topic, wanted.partition)
        held = self._held[partition]
        deadline = time.monotonic() + self._config.connect_timeout_seconds
        while self._reached[partition] < min(wanted.end, self._ends[partition]):
            if self._poll(partition):
                deadline = time.monotonic() + self._config.connect_timeout_seconds
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    f"{wanted.topic}/{wanted.partition} cannot be read again from offset {self._reached[partition]}: "
                    f"Kafka at {self._config.bootstrap_servers} does not answer"
                )
        records, outcomes = list[Record](), list[Event | Reason]()
        while held and held[0][0].offset < wanted.end:
            record, outcome, size = held.popleft()
            self._bytes -= size
            if record.offset >= wanted.first:
                records.append(record)
                outcomes.append(outcome)
        return arrival(partition, records, outcomes, begin=wanted.first, end=wanted.end)

    def _poll(self, wanted: Partition) -> bool:
        """Read on in `wanted` and, if there is room, in the others; return whether `wanted` advanced."""
        others = [key for key in self._held if key != wanted]
        enough = [key for key in others if self._bytes >= AHEAD_BYTES or self._reached[key] >= self._until[key]]
        self._client.resume(*self._client.paused())
        self._client.pause(*(TopicPartition(*partition) for partition in enough))
        with as_sentence(self._config):
            try:
                polled = self._client.poll(timeout_ms=POLL_MILLISECONDS)
            except OffsetOutOfRangeError as error:
                return self._skip_deleted(error.args[0])
        before = self._reached[wanted]
        unheld = {partition: records[0].offset for partition, records in polled.items()}
        try:
            for partition, records in polled.items():
                self._hold((partition.topic, partition.partition), records)
                del unheld[partition]
        finally:
            for partition, offset in unheld.items():  # a registry does not answer: read them again
                self._client.seek(partition, offset)
        for key in self._held:
            self._reached[key] = self._client.position(TopicPartition(*key))
        return self._reached[wanted] > before

    def _hold(self, partition: Partition, records: list[Record]) -> None:
        wanted = [record for record in records if record.offset < self._until[partition]]
        for record, outcome in [(record, self._decode(record)) for record in wanted]:
            size = size_of([record], [outcome])
            self._held[partition].append((record, outcome, size))
            self._bytes += size

    def _skip_deleted(self, offsets: dict[Any, int]) -> bool:
        """Continue from the first remaining record if retention deletes records during reading."""
        for partition, start in self._client.beginning_offsets(list(offsets)).items():
            self._client.seek(partition, start)
            self._reached[partition.topic, partition.partition] = start
        return True

    def close(self) -> None:
        """Close the connection."""
        self._client.close(autocommit=False)
