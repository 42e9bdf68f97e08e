"""Reads ranges of offsets again, outside the group, as the journal names them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from kafka import TopicPartition
from kafka.errors import OffsetOutOfRangeError

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence, make_consumer
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.queue import Arrival
from streamlearn.errors import UnavailableError
from streamlearn.events import Partition, Positions, Range

POLL_MILLISECONDS = 500
AHEAD = 10_000  # records of a partition that are read before they are wanted


class Rereader:
    """Reads ranges in the order in which they were taken; per partition their offsets never go back.

    Parameters
    ----------
    config
        The section ``kafka``.
    decoder
        Makes events of records, as the consumer's does.
    ranges
        All that will be asked for: it decides where reading begins.

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
        for wanted in ranges:
            begins.setdefault((wanted.topic, wanted.partition), wanted.first)
        self._held: dict[Partition, deque[Any]] = {partition: deque() for partition in begins}
        self._reached: Positions = {}  # per partition, the offset before which all that is there is held
        with as_sentence(config):
            self._client = make_consumer(config)
        partitions = [TopicPartition(*partition) for partition in begins]
        with ExitStack() as unless_it_works, as_sentence(config):
            unless_it_works.callback(self.close)
            self._client.assign(partitions)
            starts = self._client.beginning_offsets(partitions)
            ends = self._client.end_offsets(partitions)
            unless_it_works.pop_all()
        self._ends: Positions = {(p.topic, p.partition): end for p, end in ends.items()}
        for partition in partitions:
            key = (partition.topic, partition.partition)
            self._reached[key] = max(begins[key], starts[partition])
            self._client.seek(partition, self._reached[key])

    def read(self, wanted: Range) -> Arrival:
        """Return the records of `wanted` that are still there, decoded; fewer than recorded where some were deleted.

        Raises
        ------
        UnavailableError
            If Kafka answers nothing for as long as a connection may take.
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
        records = []
        while held and held[0].offset < wanted.end:
            record = held.popleft()
            if record.offset >= wanted.first:
                records.append(record)
        return Arrival(*partition, records, [self._decode(record) for record in records])

    def _poll(self, wanted: Partition) -> bool:
        """Read on in `wanted` and, unless they are far ahead, in the other partitions; return whether it went on."""
        ahead = [p for p, held in self._held.items() if p != wanted and len(held) >= AHEAD]
        self._client.resume(*self._client.paused())
        self._client.pause(*(TopicPartition(*partition) for partition in ahead))
        with as_sentence(self._config):
            try:
                polled = self._client.poll(timeout_ms=POLL_MILLISECONDS)
            except OffsetOutOfRangeError as error:
                return self._skip_deleted(error.args[0])
        before = self._reached[wanted]
        for partition, records in polled.items():
            self._held[partition.topic, partition.partition].extend(records)
        for key in self._held:
            self._reached[key] = self._client.position(TopicPartition(*key))
        return self._reached[wanted] > before

    def _skip_deleted(self, offsets: dict[Any, int]) -> bool:
        """Go on from the first record left, where retention deletes while it is read."""
        for partition, start in self._client.beginning_offsets(list(offsets)).items():
            self._client.seek(partition, start)
            self._reached[partition.topic, partition.partition] = start
        return True

    def close(self) -> None:
        """Give the connection back."""
        self._client.close(autocommit=False)
