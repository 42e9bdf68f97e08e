"""Records that a learner refuses for its configuration, and what the topic holds of them once they are redriven."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from kafka import TopicPartition

from streamlearn.config import Config
from streamlearn.consumer.client import make_consumer
from tests.integration.learner import event

FIX = "events.fields.label=class"
"""The setting with which what :func:`renamed` gives is an event."""


def renamed(number: int) -> bytes:
    """Return the value of record `number`: its label has another name, it has no id, and a time of its own."""
    value = json.loads(event(number))
    value["class"] = value.pop("label")
    del value["id"]
    return json.dumps(value | {"timestamp": time_of(number)}).encode()


def time_of(number: int) -> int:
    """Return the time of event `number`, by which it can be told."""
    return 1_700_000_000 + number


def read_all(config: Config, topic: str, *, partitions: int = 1) -> list[Any]:
    """Return all records of `topic` that were committed, partition by partition."""
    found: list[Any] = []
    with closing(make_consumer(config.kafka)) as reader:
        for number in range(partitions):
            partition = TopicPartition(topic, number)
            reader.assign([partition])
            reader.seek_to_beginning(partition)
            end = reader.end_offsets([partition])[partition]
            while reader.position(partition) < end:
                for records in reader.poll(timeout_ms=2000).values():
                    found += records
    return found


def marks(config: Config, *, partitions: int = 1) -> list[str]:
    """Return where each redriven record in the topic of events stood, in their order."""
    records = read_all(config, config.kafka.topic, partitions=partitions)
    return [dict(record.headers)["streamlearn.redriven_from"].decode() for record in records if record.headers]
