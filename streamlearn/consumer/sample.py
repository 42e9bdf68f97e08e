"""Reads a few records of the topic, without joining the group, to see whether they are readable and valid events."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from streamlearn.config import Config, Kafka
from streamlearn.consumer.client import as_sentence, describe, make_consumer
from streamlearn.consumer.decode import Decoder
from streamlearn.errors import BrokerError
from streamlearn.events import Reason
from streamlearn.records import Record

MOST_PARTITIONS = 16
SECONDS = 10.0
POLL_MILLISECONDS = 500


def look_at_records(config: Config) -> str:
    """Return a description of the oldest and the newest record of each of the first few partitions.

    A change of the producers' compression shows there. Takes at most :data:`SECONDS`.

    Raises
    ------
    ConfigurationError
        If they use a compression codec that is not installed.
    BrokerError
        If they cannot be read, or Kafka cannot be asked.

    """
    decode = Decoder(config.events, config.kafka.schema_registry, labelled=config.labelled).decode
    found: Counter[str] = Counter()
    with as_sentence(config.kafka), closing(make_consumer(config.kafka)) as client:
        for record in _ends(client, config.kafka.topic):
            outcome = decode(record)
            found[outcome.value if isinstance(outcome, Reason) else "event"] += 1
    events, read = found.pop("event", 0), sum(found.values())
    if not events + read:
        return "it holds no record yet"
    refused = ", ".join(f"{count} {reason}" for reason, count in found.most_common())
    return f"{events + read} of its records were read: {events} events" + (f", refused {refused}" if refused else "")


def newest(config: Kafka, count: int) -> list[Record]:
    """Return about `count` of the newest records, taken evenly from the first few partitions.

    Takes at most :data:`SECONDS`; the errors are those of :func:`look_at_records`.
    """
    with as_sentence(config), closing(make_consumer(config)) as client:
        deadline = time.monotonic() + SECONDS
        numbers = sorted(client.partitions_for_topic(config.topic) or ())[:MOST_PARTITIONS]
        partitions = [TopicPartition(config.topic, number) for number in numbers]
        client.assign(partitions)
        first, end = client.beginning_offsets(partitions), client.end_offsets(partitions)
        filled = [partition for partition in partitions if first[partition] < end[partition]][:count]
        each = -(-count // max(len(filled), 1))
        for partition in filled:
            client.seek(partition, max(first[partition], end[partition] - each))
        client.pause(*set(partitions) - set(filled))
        found: list[Record] = []
        while filled and time.monotonic() < deadline:
            for records in _polled(client, config.topic, each).values():
                found += [
                    record for record in records if record.offset < end[TopicPartition(config.topic, record.partition)]
                ]
            filled = [partition for partition in filled if client.position(partition) < end[partition]]
        return sorted(found, key=lambda record: (record.partition, record.offset))[:count]


def _ends(client: Any, topic: str) -> list[Record]:
    """Return the oldest and the newest record of each partition, as far as time allows."""
    deadline = time.monotonic() + SECONDS
    numbers = sorted(client.partitions_for_topic(topic) or ())[:MOST_PARTITIONS]
    partitions = [TopicPartition(topic, number) for number in numbers]
    client.assign(partitions)
    first, end = client.beginning_offsets(partitions), client.end_offsets(partitions)
    records = list[Record]()
    for starts in (first, {partition: end[partition] - 1 for partition in partitions}):
        waiting = {partition for partition in partitions if first[partition] <= starts[partition] < end[partition]}
        client.pause(*partitions)
        for partition in waiting:
            client.seek(partition, starts[partition])
        client.resume(*waiting)
        while waiting and time.monotonic() < deadline:
            records += _poll(client, topic, waiting)
            waiting -= {p for p in waiting if client.position(p) > starts[p]}  # a transaction marker is not a record
    return records


def _poll(client: Any, topic: str, waiting: set[Any]) -> list[Record]:
    """Return a record of each of the `waiting` partitions that have answered, and stop reading them."""
    polled = _polled(client, topic, 1)
    for partition in polled:
        client.pause(partition)
        waiting.discard(partition)
    return [records[0] for records in polled.values()]


def _polled(client: Any, topic: str, most: int) -> dict[Any, list[Record]]:
    """Return up to `most` polled records, by partition."""
    try:
        polled: dict[Any, list[Record]] = client.poll(timeout_ms=POLL_MILLISECONDS, max_records=most)
    except (KafkaError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - a library that decompresses has errors of its own
        raise BrokerError(f"a record of {topic} cannot be read: {describe(error)}") from None
    return polled
