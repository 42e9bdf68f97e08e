"""Whatever Kafka hands over is carried to the dead-letter topic: as it came, or as well as Kafka takes it back."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.producer.sender import Sender

from streamlearn.config import Config
from streamlearn.consumer.client import create_topic, make_consumer, partition_count
from streamlearn.consumer.dead_letter_topic import (
    LIMIT,
    look_at_dead_letter_topic,
    make_dead_letter_producer,
    require_dead_letter_topic,
    topic_settings,
)
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.errors import BrokerError, ConfigurationError
from streamlearn.events import Reason
from streamlearn.local.broker import Broker
from tests.integration.learner import LearnerProcess, event, send, surviving_state, wait_until
from tests.integration.wire import RawName, Sent, put

Headers = dict[str, bytes]
NOISE = random.Random(7).randbytes(1_000_000)  # does not become smaller by compression


@pytest.fixture
def dead_letters(config: Config) -> Iterator[DeadLetters]:
    letters = DeadLetters(
        partial(make_dead_letter_producer, config.kafka), config.kafka.dead_letter_topic, refused=lambda _: None
    )
    letters.start()
    yield letters
    letters.stop()
    assert letters.failed is None


def read(config: Config, topic: str) -> list[Any]:
    """Return all records of the first partition of `topic`."""
    reader, partition = make_consumer(config.kafka), TopicPartition(topic, 0)
    reader.assign([partition])
    reader.seek_to_beginning(partition)
    end, found = reader.end_offsets([partition])[partition], list[Any]()
    while reader.position(partition) < end:
        for records in reader.poll(timeout_ms=2000).values():
            found += records
    reader.close()
    return found


def refuse_all(config: Config, dead_letters: DeadLetters) -> list[Any]:
    """Hand every record of the topic to `dead_letters`, and return the letter of each, which must be one."""
    records = read(config, config.kafka.topic)
    for record in records:
        dead_letters.put(record, Reason.NOT_JSON)
    assert dead_letters.settle(30)
    letters = sorted(read(config, config.kafka.dead_letter_topic), key=lambda letter: int(ours(letter)["offset"]))
    assert [int(ours(letter)["offset"]) for letter in letters] == [record.offset for record in records]
    return letters


def ours(letter: Any) -> Headers:
    """Return the headers that were added to the record's own, without their prefix."""
    names = [name for name, _ in letter.headers]
    begin = len(names) - 1 - names[::-1].index("streamlearn.reason")
    return {name.removeprefix("streamlearn."): value for name, value in letter.headers[begin:]}


def own(letter: Any) -> list[tuple[str, bytes]]:
    """Return the headers that came with the record."""
    return list(letter.headers[: len(letter.headers) - len(ours(letter))])


@pytest.fixture
def topic_of(config: Config, broker: Broker) -> Callable[..., None]:
    """Put records into the topic, each in a batch of its own, and have the dead-letter topic made."""

    def fill(*records: Sent, codec: str = "none") -> None:
        if not partition_count(config.kafka, config.kafka.dead_letter_topic):
            require_dead_letter_topic(config.kafka)
        put(broker.bootstrap_servers, config.kafka.topic, [([record], codec) for record in records])

    return fill


def test_a_null_is_carried_as_an_empty_value_and_says_so(
    config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    headers = (("trace", None), ("trace", b"1"), ("", b""), ("größe", None))
    topic_of(Sent(b"no JSON", b"key", headers), Sent(None), Sent(None, b""), Sent(b""))
    first, neither, tombstone, empty = refuse_all(config, dead_letters)
    assert (first.key, first.value) == (b"key", b"no JSON")
    assert own(first) == [(name, value or b"") for name, value in headers]
    assert json.loads(ours(first)["null_headers"]) == {"0": "trace", "3": "größe"}
    assert (neither.key, neither.value, ours(neither)["null_value"]) == (None, b"", b"true")
    assert (tombstone.key, tombstone.value, empty.key, empty.value) == (b"", None, None, b"")
    for letter in (tombstone, empty):
        assert not {"null_headers", "null_value", "stub"} & set(ours(letter))


def test_the_name_of_a_header_that_is_not_utf_8_is_told_in_its_bytes(
    config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    topic_of(Sent(b"no JSON", headers=((RawName(b"gr\xf6\xdfe"), b"1"), ("trace", None))), Sent(b"behind it"))
    letter, behind = refuse_all(config, dead_letters)
    assert own(letter) == [("gr\\xf6\\xdfe", b"1"), ("trace", b"")]
    assert json.loads(ours(letter)["raw_header_names"]) == {"0": "6772f6df65"}
    assert behind.value == b"behind it"


def test_headers_that_look_like_ours_do_not_pass_for_them(
    config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    pretended = (("streamlearn.reason", b"fine"), ("streamlearn.stub", b"yes"), ("streamlearn.offset", b"9"))
    topic_of(Sent(b"no JSON", headers=pretended))
    (letter,) = refuse_all(config, dead_letters)
    assert own(letter) == list(pretended)
    assert ours(letter)["reason"] == b"not_json"
    assert "stub" not in ours(letter)


def test_records_as_large_as_the_topic_takes_are_carried_whole(
    config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    limit = int(topic_settings(config.kafka, config.kafka.topic, [LIMIT])[LIMIT])
    just_below = (NOISE + NOISE)[: limit - 100]
    topic_of(Sent(b"late refund " * 250_000), codec="gzip")  # 3 MB that came as 3 kB
    topic_of(Sent(just_below), Sent(None, NOISE[:900_000]), Sent(b"x", headers=(("h", NOISE),)))
    text, noise, key, header = refuse_all(config, dead_letters)
    assert text.value == b"late refund " * 250_000
    assert noise.value == just_below
    assert (key.key, key.value) == (NOISE[:900_000], None)
    assert own(header) == [("h", NOISE)]


def test_timestamps_that_tell_no_time_are_told(
    config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    topic_of(*(Sent(b"x", timestamp=timestamp) for timestamp in (-1, -5, 0)))
    letters = refuse_all(config, dead_letters)
    told = [letter["timestamp"] for letter in map(ours, letters)]
    assert told == [str(record.timestamp).encode() for record in read(config, config.kafka.topic)]


def test_where_a_topic_that_is_there_takes_too_little_a_stub_stands_for_the_record(
    apache_kafka: Broker, broker: Broker, config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    if broker is not apache_kafka:
        pytest.skip("the development broker has no limit on the size of messages")
    limit_dead_letter_topic(config, {"max.message.bytes": "2000"})
    value, key, headers = NOISE[:5000], NOISE[:4000], (("h", NOISE[:3000]),)
    topic_of(Sent(b"small", b"key"), Sent(value, b"key"), Sent(value), Sent(b"x", key), Sent(None, b"key", headers))
    small, large, without_key, large_key, large_header = refuse_all(config, dead_letters)
    assert (small.value, "stub" in ours(small)) == (b"small", False)
    for stub, length in ((large, b"5000"), (without_key, b"5000"), (large_key, b"1"), (large_header, b"-1")):
        told = ours(stub)
        assert not stub.value
        assert (told["stub"], told["reason"]) == (b"MessageSizeTooLargeError", b"not_json")
        assert (told["topic"], told["partition"]) == (config.kafka.topic.encode(), b"0")
        assert told["value_length"] == length
    assert ours(large)["value_sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert (large.key, without_key.key, large_header.key) == (b"key", None, b"key")
    assert large_key.key == f"{config.kafka.topic}/0/3".encode()
    assert ours(large_key)["key_length"] == b"4000"
    assert ours(large_key)["key_sha256"] == hashlib.sha256(key).hexdigest().encode()
    assert ours(large_header)["headers_left_out"] == b"1"


def test_one_record_that_kafka_finds_invalid_does_not_hold_up_those_sent_with_it(
    apache_kafka: Broker, broker: Broker, config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    if broker is not apache_kafka:
        pytest.skip("the development broker validates no records")
    limit_dead_letter_topic(config, {"cleanup.policy": "compact"})  # which takes no record without a key
    topic_of(*(Sent(b"x", None if number == 5 else b"%d" % number) for number in range(9)))
    letters = refuse_all(config, dead_letters)
    assert [letters[n].value for n in range(9)] == [None if n == 5 else b"x" for n in range(9)]
    assert ours(letters[5])["stub"] == b"InvalidRecordError"
    assert ours(letters[5])["value_sha256"] == hashlib.sha256(b"x").hexdigest().encode()


def test_a_thousand_letters_each_too_large_for_their_topic_become_a_thousand_stubs(
    apache_kafka: Broker, broker: Broker, config: Config, dead_letters: DeadLetters
) -> None:
    if broker is not apache_kafka:
        pytest.skip("the development broker has no limit on the size of messages")
    limit_dead_letter_topic(config, {"max.message.bytes": "2000"})
    sent = [Sent(NOISE[number : number + 3000]) for number in range(1000)]
    put(broker.bootstrap_servers, config.kafka.topic, [(sent[n : n + 100], "none") for n in range(0, 1000, 100)])
    letters = refuse_all(config, dead_letters)
    assert {ours(letter)["value_length"] for letter in letters} == {b"3000"}


def limit_dead_letter_topic(config: Config, settings: dict[str, str]) -> None:
    topic = config.kafka.dead_letter_topic
    create_topic(config.kafka, topic, settings=settings)
    wait_until(lambda: bool(partition_count(config.kafka, topic)), f"'{topic}' is seen by whoever asks")


def test_odd_records_among_events_cost_nothing_and_the_learner_ends_at_once_with_all_kept(
    broker: Broker, config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [event(n) for n in range(40)])
    odd = [
        Sent(b"no JSON", None, (("trace", None),)),
        Sent(None),
        Sent(b'{"text": "' + b"late refund " * 250_000 + b'", "label": "a"}'),
        Sent(b"{}", NOISE[:900_000]),
        Sent(b"{}", timestamp=-1),
    ]
    put(broker.bootstrap_servers, config.kafka.topic, [([record], "gzip") for record in odd])
    send(config, [event(n) for n in range(40, 80)])
    learner = start_learner("events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", 80, outcome="trained")
    assert learner.terminate() == 0
    assert surviving_state(config.publisher.directory)["positions"] == [[config.kafka.topic, 0, 85]]
    letters = read(config, config.kafka.dead_letter_topic)
    assert [int(ours(letter)["offset"]) for letter in letters] == list(range(40, 45))
    assert [letter.value for letter in letters] == [record.value or b"" for record in odd]


def test_a_record_that_nothing_takes_is_waited_for_and_carried_whole_once_it_can_be(
    apache_kafka: Broker, broker: Broker, config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    if broker is not apache_kafka:
        pytest.skip("the development broker has no limit on the size of messages")
    dead = config.kafka.dead_letter_topic
    limit_dead_letter_topic(config, {"max.message.bytes": "150"})  # less than a stub
    topic_of(Sent(NOISE[:500]))
    for record in read(config, config.kafka.topic):
        dead_letters.put(record, Reason.NOT_JSON)
    wait_until(lambda: dead_letters.blocked, "consumption is paused")
    assert not dead_letters.settle(0.1)
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, dead, configs={"max.message.bytes": "100000"})])
    admin.close()
    assert dead_letters.settle(30)
    assert not dead_letters.blocked
    (letter,) = read(config, dead)
    assert len(ours(letter)) >= 6


def test_a_dead_letter_topic_that_is_deleted_is_waited_for_with_an_idle_processor(
    apache_kafka: Broker, broker: Broker, config: Config, dead_letters: DeadLetters, topic_of: Callable[..., None]
) -> None:
    if broker is not apache_kafka:
        pytest.skip("what the development broker says of a topic that is gone is its own")
    dead = config.kafka.dead_letter_topic
    topic_of(Sent(b"before"), Sent(b"after"))
    before, after = read(config, config.kafka.topic)
    dead_letters.put(before, Reason.NOT_JSON)
    assert dead_letters.settle(30)
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)) as admin:
        admin.delete_topics([dead])
        dead_letters.put(after, Reason.NOT_JSON)
        wait_until(lambda: dead_letters.blocked, "consumption is paused", 20)  # and not for a delivery's 30
        began = time.process_time()
        assert not dead_letters.settle(4)
        assert time.process_time() - began < 2
        admin.create_topics([NewTopic(dead, 2, 1)])
    assert dead_letters.settle(30)
    assert [letter.value for letter in read(config, dead)] == [b"after"]


def test_the_topic_for_dead_letters_takes_what_the_topic_of_events_took_and_our_headers(
    apache_kafka: Broker, broker: Broker, config: Config
) -> None:
    if broker is not apache_kafka:
        pytest.skip("the development broker has no limit on the size of messages")
    wide = config.kafka.model_copy(update={"topic": f"{config.kafka.topic}-wide", "dead_letter_topic": "wide-dead"})
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    admin.create_topics([NewTopic(wide.topic, 1, 1, topic_configs={"max.message.bytes": "5000000"})])
    admin.close()
    require_dead_letter_topic(wide)
    assert int(topic_settings(wide, "wide-dead", [LIMIT])[LIMIT]) > 5_000_000


def test_check_says_that_the_topic_for_dead_letters_takes_too_little_and_refuses_one_that_loses_some(
    apache_kafka: Broker, broker: Broker, config: Config
) -> None:
    if broker is not apache_kafka:
        pytest.skip("the development broker knows no limits and no compaction")
    assert "will be created" in look_at_dead_letter_topic(config.kafka)
    limit_dead_letter_topic(config, {"max.message.bytes": "2000"})
    said = look_at_dead_letter_topic(config.kafka)
    assert "of records that are too large for its max.message.bytes of 2000 a stub is kept: set it to 2162712" in said
    compacted = config.kafka.model_copy(update={"dead_letter_topic": f"{config.kafka.topic}-compacted"})
    create_topic(compacted, compacted.dead_letter_topic, settings={"cleanup.policy": "compact,delete"})
    for look in (look_at_dead_letter_topic, require_dead_letter_topic):
        with pytest.raises(BrokerError, match="is compacted: of the dead letters with the same key it keeps one"):
            look(compacted)


def test_options_with_which_no_dead_letter_can_be_written_are_told_before_the_start(config: Config) -> None:
    for options in ({"compression_type": "brotli"}, {"delivery_timeout_ms": 100}, {"linger_ms": "soon"}):
        odd = config.kafka.model_copy(update={"client": options})
        with pytest.raises(ConfigurationError, match=r"kafka\.client"):
            require_dead_letter_topic(odd)


def test_a_network_thread_that_keeps_its_errors_to_itself_is_given_up_and_the_letter_still_sent_once(
    config: Config, topic_of: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    topic_of(Sent(b"no JSON"))
    hasty = config.kafka.model_copy(update={"client": {"delivery_timeout_ms": 600, "request_timeout_ms": 500}})
    kinds = [hasty]  # the last is how the next producer is made: a slow broker's answer is then waited for
    dead_letters = DeadLetters(
        lambda **how: make_dead_letter_producer(kinds[-1], **how), hasty.dead_letter_topic, refused=lambda _: None
    )
    healthy = Sender._send_producer_data

    def broken_if_hasty(sender: Any, *args: Any, **how: Any) -> Any:
        if sender.config["request_timeout_ms"] == 500:
            raise LookupError
        return healthy(sender, *args, **how)

    monkeypatch.setattr(Sender, "_send_producer_data", broken_if_hasty)
    dead_letters.start()
    for record in read(config, config.kafka.topic):
        dead_letters.put(record, Reason.NOT_JSON)
    wait_until(lambda: dead_letters.blocked, "consumption is paused")
    kinds.append(config.kafka)
    assert dead_letters.settle(30)
    dead_letters.stop()
    assert [letter.value for letter in read(config, config.kafka.dead_letter_topic)] == [b"no JSON"]
    assert caplog.text.count("consumption paused") == 1
    assert caplog.text.count("consumption resumed") == 1
