"""The demo's feed: a real stream through a real producer, with malformed and repeated records in between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kafka import TopicPartition

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence, make_consumer, make_producer
from streamlearn.events import Reason
from streamlearn.local.data import Part

POISON_EVERY = 150
REPEAT_EVERY = 500
TOMBSTONE_KEY = b"deleted"  # a record needs a key or a value
POISON: tuple[tuple[bytes | None, Reason], ...] = (
    (b"this is not JSON", Reason.NOT_JSON),
    (b'{"text": "no label"}', Reason.MISSING_FIELD),
    (b"\xff\xfe{}", Reason.NOT_UTF8),
    (b'{"text": "", "label": "rec"}', Reason.EMPTY_TEXT),
    (b'{"text": 17, "label": "rec"}', Reason.WRONG_TYPE),
    (None, Reason.TOMBSTONE),
    (b'{"text": "' + b"x" * 30_000 + b'", "label": "rec"}', Reason.TEXT_TOO_LONG),
    (b'{"text": "one label of another type", "label": 3}', Reason.LABEL_TYPE),
    (b'{"text": "t", "label": "rec", "timestamp": "yesterday"}', Reason.BAD_TIMESTAMP),
)


OF_LABELS = frozenset({b'{"text": "no label"}', b'{"text": "one label of another type", "label": 3}'})
"""Those of them that only lack a label, and so are valid events for a language model."""


@dataclass
class Feed:
    """The records of a stream in order, and their expected outcomes.

    Attributes
    ----------
    records
        The values to send; None is a tombstone.
    begins
        The number of the record with which each part begins.
    poison
        The malformed records by number, with the reason why each must be refused.

    """

    records: list[bytes | None] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    poison: dict[int, Reason] = field(default_factory=dict)


def make_feed(parts: list[Part], *, labelled: bool = True) -> Feed:
    """Return the records of `parts`, with or without labels, with occasional malformed and repeated ones in between."""
    feed = Feed()
    malformed = [(value, reason) for value, reason in POISON if labelled or value not in OF_LABELS]
    for part in parts:
        feed.begins.append(len(feed.records))
        for number, (text, label) in enumerate(part.examples, 1):
            tree = {"text": text[:15_000], "label": label, "id": f"{part.name}-{number}"}
            if not labelled:
                del tree["label"]
            value = json.dumps(tree).encode()
            feed.records.append(value)
            if number % REPEAT_EVERY == 0:
                feed.records.append(value)
            if number % POISON_EVERY == 0:
                poison, reason = malformed[len(feed.poison) % len(malformed)]
                feed.poison[len(feed.records)] = reason
                feed.records.append(poison)
    return feed


def send(config: Kafka, feed: Feed) -> None:
    """Send every record of `feed` in its order and wait until Kafka has them.

    Raises
    ------
    BrokerError
        If Kafka refuses one.

    """
    with as_sentence(config):
        producer = make_producer(config)
        try:
            for future in [
                producer.send(config.topic, record, key=None if record else TOMBSTONE_KEY, partition=0)
                for record in feed.records
            ]:
                future.get(timeout=60)
        finally:
            producer.close()


def read_dead_letters(config: Kafka, count: int) -> dict[int, tuple[bytes | None, str]]:
    """Return the value and the reason of each of the first `count` dead letters, by the offset it came from."""
    letters = {}
    for record in _read(config, config.dead_letter_topic, count):
        headers = dict(record.headers)
        letters[int(headers["streamlearn.offset"])] = (record.value, headers["streamlearn.reason"].decode())
    return letters


def missing_dead_letters(feed: Feed, letters: dict[int, tuple[bytes | None, str]]) -> Counter[str]:
    """Count, by reason, the malformed records of `feed` that `letters` lacks or holds with other bytes or reason."""
    return Counter(
        reason.value
        for number, reason in feed.poison.items()
        if letters.get(number) != (feed.records[number], reason.value)
    )


def _read(config: Kafka, topic: str, count: int) -> Iterator[Any]:
    reader = make_consumer(config)
    try:
        partition = TopicPartition(topic, 0)
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        seen = 0
        while seen < count:
            polled = reader.poll(timeout_ms=5000)
            if not polled:
                return
            for records in polled.values():
                seen += len(records)
                yield from records
    finally:
        reader.close()
