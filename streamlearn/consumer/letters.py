"""Reads the dead-letter topic from end to end, outside any group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from kafka import TopicPartition

from streamlearn.config import READ_COMMITTED, Kafka
from streamlearn.consumer.client import as_sentence, make_consumer, partition_count
from streamlearn.consumer.opened import opened
from streamlearn.errors import BrokerError, UnavailableError
from streamlearn.records import DeadLetter, Origin, Record

POLL_MILLISECONDS = 500


class DeadLetterTopic:
    """The dead-letter topic up to its end at the time of opening: later records are not read.

    Parameters
    ----------
    config
        The section ``kafka``.
    since
        Milliseconds since 1970: earlier letters are not read.

    Raises
    ------
    UnavailableError
        If Kafka does not answer.
    BrokerError
        If it refuses, or there is no such topic.

    """

    def __init__(self, config: Kafka, *, since: int | None = None) -> None:
        self._config, self._since = config, since
        self.topic = config.dead_letter_topic
        committed = config.client | {"isolation_level": READ_COMMITTED}  # only receipts that were committed
        self._reading = config.model_copy(update={"client": committed})
        partitions = partition_count(config, self.topic)
        if not partitions:
            raise BrokerError(
                f"Kafka at {config.bootstrap_servers} has no topic '{self.topic}': nothing was refused yet, or "
                "kafka.dead_letter_topic names another one"
            )
        self._partitions = [TopicPartition(self.topic, number) for number in range(partitions)]
        with as_sentence(config), closing(make_consumer(self._reading)) as client:
            self._begins = client.beginning_offsets(self._partitions)
            self._ends = client.end_offsets(self._partitions)
            if since is not None:
                found = client.offsets_for_times(dict.fromkeys(self._partitions, since))
                for partition, end in self._ends.items():
                    self._begins[partition] = found[partition].offset if found.get(partition) else end

    @property
    def records(self) -> int:
        """About how many records will be read: a count of offsets, some of which are transaction markers."""
        return sum(max(0, self._ends[partition] - self._begins[partition]) for partition in self._partitions)

    def read(self) -> Iterator[DeadLetter | Origin | None]:
        """Yield the content of the topic, partition by partition, oldest first: letters, and the origins in receipts.

        Anything else is yielded as None. The errors are those of the constructor.
        """
        with as_sentence(self._config), closing(make_consumer(self._reading)) as client:
            for partition in self._partitions:
                for record in self._of(client, partition):
                    yield opened(record)

    def _of(self, client: Any, partition: Any) -> Iterator[Record]:
        begin, end = self._begins[partition], self._ends[partition]
        if begin >= end:
            return
        client.assign([partition])
        client.seek(partition, begin)
        deadline = time.monotonic() + self._config.connect_timeout_seconds
        while client.position(partition) < end:
            before = client.position(partition)
            for record in client.poll(timeout_ms=POLL_MILLISECONDS).get(partition, ()):
                if record.offset < end:
                    yield record
            if client.position(partition) > before:
                deadline = time.monotonic() + self._config.connect_timeout_seconds
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self.topic}/{partition.partition} cannot be read on from offset {before}: "
                    f"Kafka at {self._config.bootstrap_servers} does not answer"
                )
