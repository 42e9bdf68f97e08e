"""Records as anybody may write them, and the real consumer that each of them goes through to its one place."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from hypothesis import strategies as st
from kafka import TopicPartition, codec
from kafka.errors import KafkaError

from streamlearn.config import Config
from streamlearn.consumer.client import make_consumer
from streamlearn.consumer.consumer import Consumer
from streamlearn.consumer.dead_letter_topic import make_dead_letters, require_dead_letter_topic
from streamlearn.consumer.decode import Decoder
from streamlearn.events import Event
from streamlearn.learner.admission import Admission
from streamlearn.learner.draft import Draft
from streamlearn.learner.intake import Intake
from streamlearn.patience import Patience
from streamlearn.reports import MicroBatch
from streamlearn.source import Watch
from tests.integration.learner import event
from tests.integration.wire import RawName, Sent, put

DEADLINE_SECONDS = 60.0
CODECS = ["none", "gzip", *(name for name in ("snappy", "lz4", "zstd") if getattr(codec, f"has_{name}")())]

Headers = dict[str, bytes]


def noise(size: int) -> bytes:
    """Return bytes that no codec makes smaller."""
    return random.Random(size).randbytes(size)


def events() -> st.SearchStrategy[bytes]:
    """Return values that are events, or nearly: of few ids, labels and texts, so that some come again."""
    anything = st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.integers() | st.lists(st.integers())
    fields = st.fixed_dictionaries(
        {
            "text": st.text(max_size=12) | st.sampled_from(["late refund", "moon launch"]) | anything,
            "label": st.sampled_from(["a", "b", "c"]) | anything,
        },
        optional={"id": st.integers(0, 20).map(str) | anything, "timestamp": anything, "more": anything},
    )
    return fields.map(lambda value: json.dumps(value).encode())


def records() -> st.SearchStrategy[Sent]:
    """Return records whose every part may be missing, empty, odd or large."""
    numbers = st.integers(0, 1000)
    plain = numbers.map(event) | numbers.map(lambda number: event(number, id=None))  # of which none is a duplicate
    small = st.binary(max_size=40)
    large = st.integers(100_000, 900_000).map(noise)
    repeated = st.integers(100_000, 3_000_000).map(lambda size: b'{"text": "' + b"late " * (size // 5) + b'"}')
    name = st.text(max_size=6) | st.binary(max_size=6).map(RawName)
    some = st.lists(st.tuples(name, st.none() | small), max_size=5)
    many = st.integers(500, 3000).map(lambda count: [(f"h{n}", None if n % 3 else b"x") for n in range(count)])
    parts = {
        "value": often(plain, plain, events(), events(), st.none(), small, seldom=large | repeated),
        "key": often(st.none(), st.none(), small, small, seldom=large),
        "headers": often(st.just([]), some, some, seldom=many).map(tuple),
        "timestamp": often(st.none(), st.none(), st.integers(-(2**40), 2**40), st.sampled_from([-1, 0])),
    }
    return st.builds(Sent, **parts)


def often(*strategies: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Return values of any of `strategies`, and one in twenty of `seldom`: Kafka takes no batch of many of those."""
    usual = st.one_of(*strategies)
    if seldom is None:
        return usual
    return st.integers(0, 19).flatmap(lambda drawn: seldom if drawn == 13 else usual)


def batches() -> st.SearchStrategy[list[tuple[list[Sent], str]]]:
    """Return batches of records, each with the codec it is compressed with."""
    one = st.tuples(st.lists(records(), min_size=1, max_size=8), st.sampled_from(CODECS))
    odd = st.sampled_from([-(2**63) + 1, 2**62]).map(lambda timestamp: ([Sent(b"x", timestamp=timestamp)], "none"))
    return st.lists(st.one_of(one, one, one, one, odd), min_size=4, max_size=8)


class Letter(NamedTuple):
    """A dead letter, taken apart."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[bytes, bytes | None]]
    ours: Headers


def take_apart(record: Any) -> Letter:
    """Return the record of a dead letter as it was, where the letter is whole, and the headers that tell of it."""
    names = [name for name, _ in record.headers]
    begin = len(names) - 1 - names[::-1].index("streamlearn.reason")
    ours = {name.removeprefix("streamlearn."): value for name, value in record.headers[begin:]}
    nulls, raw = (json.loads(ours.get(mark, "{}")) for mark in ("null_headers", "raw_header_names"))
    headers = [
        (bytes.fromhex(raw[str(n)]) if str(n) in raw else name.encode(), None if str(n) in nulls else value)
        for n, (name, value) in enumerate(record.headers[:begin])
    ]
    return Letter(record.key, None if "null_value" in ours else record.value, headers, ours)


def is_letter_of(letter: Letter, sent: Sent) -> bool:
    """Whether `letter` holds `sent` in every byte, or is a stub with its digest."""
    if "stub" not in letter.ours:
        headers = [(name.encode(), value) for name, value in sent.headers]
        return (letter.key, letter.value, letter.headers) == (sent.key, sent.value, headers)
    length = -1 if sent.value is None else len(sent.value)
    digest = None if sent.value is None else hashlib.sha256(sent.value).hexdigest().encode()
    return letter.ours["value_length"] == b"%d" % length and letter.ours.get("value_sha256") == digest


class Course:
    """A topic, and the real consumer, admission and dead letters that its records go through.

    Attributes
    ----------
    sent
        The records that the broker took, by their offsets.
    events
        What was accepted.
    accepted, whole, stubs
        How many records were accepted, and how many dead letters were whole or stubs.
    waits
        What reading has waited for, one after the other.

    """

    def __init__(self, config: Config) -> None:
        self._config, kafka = config, config.kafka
        require_dead_letter_topic(kafka)
        decoder = Decoder(config.events, config.kafka.schema_registry)
        self._dead_letters = make_dead_letters(
            kafka, refused=lambda _: None, detail=decoder.detail, patience=Patience()
        )
        self.waits: list[str] = []
        watch = Watch(waits=self.waits.append)
        self._consumer = Consumer(kafka, decoder=decoder, dead_letters=self._dead_letters, watch=watch)
        admission = Admission(config.events)
        self._intake = Intake(
            self._consumer.queue, lambda: Draft(admission), size=16, max_wait=0.1, clock=time.monotonic
        )
        self._letters = make_consumer(kafka)
        self._partition = TopicPartition(kafka.dead_letter_topic, 0)
        self.sent: list[Sent] = []
        self.events: list[Event] = []
        self.accepted = self.whole = self.stubs = 0

    @contextmanager
    def running(self) -> Iterator[Course]:
        """Run the consumer and the sending of dead letters meanwhile."""
        self._dead_letters.start()
        self._consumer.start()
        self._letters.assign([self._partition])
        self._letters.seek_to_beginning(self._partition)
        try:
            assert self._consumer.wait_for_term(0, DEADLINE_SECONDS)
            assert self._consumer.read_from({}, {}, DEADLINE_SECONDS) is not None
            yield self
        finally:
            self._consumer.stop()
            self._dead_letters.stop()
            self._letters.close()
        assert self._consumer.queue.failed is None
        assert self._dead_letters.failed is None

    def put(self, drawn: list[tuple[list[Sent], str]]) -> list[int]:
        """Send the batches that the broker takes, and return the offsets of their records."""
        begin = len(self.sent)
        for records, how in drawn:
            try:
                put(self._config.kafka.bootstrap_servers, self._config.kafka.topic, [(records, how)])
            except KafkaError:
                continue
            self.sent += records
        return list(range(begin, len(self.sent)))

    def take(self, offsets: list[int]) -> tuple[list[int], dict[int, Letter], int]:
        """Wait until all `offsets` are dealt with; return those accepted, the dead letters, and how many duplicates."""
        key, deadline = (self._config.kafka.topic, 0), time.monotonic() + DEADLINE_SECONDS
        accepted: list[int] = []
        duplicates, position = 0, offsets[0]
        while position <= offsets[-1]:
            assert time.monotonic() < deadline, f"nothing is read from offset {position} on"
            batch: MicroBatch = self._intake.next()
            position = batch.positions.get(key, position)
            self.events += [*batch.fresh, *batch.held_out]
            accepted += [event.offset for event in (*batch.fresh, *batch.held_out)]
            duplicates += batch.outcomes["duplicate"]  # type: ignore[index]
            for record, reason in batch.refused:
                self._dead_letters.put(record, reason)
        assert self._dead_letters.settle(DEADLINE_SECONDS)
        self.accepted += len(accepted)
        return sorted(accepted), self._read(), duplicates

    def _read(self) -> dict[int, Letter]:
        """Return the dead letters that are new, by the offset of their record, each of which must be one."""
        letters: dict[int, Letter] = {}
        end = self._letters.end_offsets([self._partition])[self._partition]
        while self._letters.position(self._partition) < end:
            for found in self._letters.poll(timeout_ms=1000).values():
                for letter in map(take_apart, found):
                    offset = int(letter.ours["offset"])
                    assert offset not in letters
                    letters[offset] = letter
                    self.stubs += "stub" in letter.ours
                    self.whole += "stub" not in letter.ours
        return letters
