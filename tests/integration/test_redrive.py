"""Dead letters from a terminal: listed, shown, and sent to the topic of events again, each once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from streamlearn.commands.dead_letters import redriven
from streamlearn.config import Config
from streamlearn.consumer import redrive as redriving
from streamlearn.consumer.dead_letter_topic import make_dead_letters, require_dead_letter_topic
from streamlearn.errors import BrokerError
from streamlearn.events import Reason
from streamlearn.local.broker import Broker
from streamlearn.patience import Patience
from streamlearn.records import Record, Withheld
from tests.conftest import streamlearn
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, wait_until, with_topic
from tests.integration.redriving import FIX, marks, read_all, renamed

PARTITIONS = 2


@pytest.fixture
def broker(apache_kafka: Broker) -> Broker:
    """Apache Kafka: what is tried here is its transactions."""
    return apache_kafka


@pytest.fixture
def config(overrides: list[str]) -> Config:
    """The configuration of `overrides`, its topic created with two partitions."""
    return with_topic(overrides, partitions=PARTITIONS)


def refused(config: Config, *records: Record, reason: Reason = Reason.MISSING_FIELD) -> None:
    """Have `records` in the dead-letter topic."""
    require_dead_letter_topic(config.kafka)
    letters = make_dead_letters(config.kafka, refused=lambda _: None, detail=lambda *_: "label", patience=Patience())
    letters.start()
    for record in records:
        letters.put(record, reason)
    assert letters.settle(30)
    letters.stop()


def a_record(config: Config, offset: int, value: bytes | None, **parts: Any) -> Record:
    whole = {"key": None, "headers": [], "timestamp": 1_700_000_000_000, "partition": 0, **parts}
    return Record(topic=config.kafka.topic, offset=offset, value=value, **whole)


def told(command: str, *arguments: str) -> Any:
    done = streamlearn("dead-letters", command, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_after_a_fix_what_was_refused_is_listed_shown_and_redriven_and_each_record_is_learnt_once(
    config: Config, overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [renamed(n) for n in range(40)], partitions=PARTITIONS)
    send(config, [b"no JSON"])
    learner = start_learner("events.holdout_ratio=0")
    learner.wait_for("streamlearn_dead_letters_total", 40, reason="missing_field")
    assert learner.terminate() == 0
    sets = [f"--set={override}" for override in overrides]

    listing = told("list", *sets, "--limit=3", "--since=1h")
    assert listing["counts"] == {"missing_field: label": 40, "not_json": 1}
    assert len(listing["letters"]) == 3
    plain = streamlearn("dead-letters", "list", *sets).stdout
    assert f"41 dead letters in {config.kafka.dead_letter_topic}: 40 missing_field: label, 1 not_json" in plain
    text = json.loads(renamed(0))["text"]
    assert text not in plain
    assert text in streamlearn("dead-letters", "list", *sets, "--limit=50", "--show-values").stdout
    place = f"{config.kafka.topic}/1/0"
    assert told("show", place, *sets)["now"] == "refused: missing_field: label"
    assert told("show", place, *sets, f"--set={FIX}")["now"] == "an event"
    assert text not in streamlearn("dead-letters", "show", f"{config.kafka.topic}/0/0", *sets).stdout

    assert told("redrive", *sets)["still_refused"] == {"missing_field: label": 40, "not_json": 1}
    fixed = [*sets, f"--set={FIX}"]
    assert told("redrive", *fixed, "--dry-run")["sent"] == 40
    assert marks(config, partitions=PARTITIONS) == []
    assert told("redrive", *fixed, place)["sent"] == 1
    again = told("redrive", *fixed, "--reason=missing_field")
    assert (again["sent"], again["redriven_before"], again["still_refused"]) == (39, 1, {})
    last = told("redrive", *fixed)
    assert (last["sent"], last["redriven_before"], last["still_refused"]) == (0, 40, {"not_json": 1})
    origins = [f"{config.kafka.topic}/{n % 2}/{n // 2}" for n in range(40)]
    assert sorted(marks(config, partitions=PARTITIONS)) == sorted(origins)
    assert {
        letter["redriven"] for letter in told("list", *sets, "--limit=50", "--reason=missing_field")["letters"]
    } == {True}

    learner = start_learner("events.holdout_ratio=0", FIX)
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    assert learner.terminate() == 0
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"dead_letter": 41, "trained": 40}
    assert len(set(learnt(state))) == 40


def test_a_record_goes_to_its_partition_with_its_key_and_headers_and_a_mark(config: Config) -> None:
    record = a_record(config, 7, event(1), key=b"k", headers=[("trace", b"1"), ("trace", None)], partition=1)
    refused(config, record, record)  # twice, as after a crash
    assert redriven(config, []).sent == 1
    (sent,) = read_all(config, config.kafka.topic, partitions=PARTITIONS)
    assert (sent.partition, sent.key, sent.value) == (1, b"k", event(1))
    assert sent.headers == [
        ("trace", b"1"),
        ("trace", b""),
        ("streamlearn.redriven_from", f"{config.kafka.topic}/1/7".encode()),
    ]


def test_what_a_letter_does_not_hold_is_named(config: Config) -> None:
    large = Withheld.of(Reason.RECORD_TOO_LARGE, length=10**8, sha256="00")
    elsewhere = Record("other", 0, 1, 0, None, event(1), [])
    refused(config, a_record(config, 1, large), a_record(config, 2, None), a_record(config, 3, event(3)), elsewhere)
    found = redriven(config, [])
    assert found.not_held == [f"{config.kafka.topic}/0/1", f"{config.kafka.topic}/0/2"]
    assert (found.sent, found.elsewhere) == (1, 1)


def test_a_record_of_a_topic_that_was_created_again_is_another_one(config: Config) -> None:
    refused(config, a_record(config, 1, event(1)))
    assert redriven(config, []).sent == 1
    refused(config, a_record(config, 1, event(2), timestamp=1_700_000_009_000))
    found = redriven(config, [])
    assert (found.sent, found.before) == (1, 1)


def test_a_record_that_kafka_does_not_take_is_named_and_those_beside_it_are_sent(
    config: Config, broker: Broker
) -> None:
    noise = random.Random(7).randbytes(5000).hex()  # compression leaves half of it
    refused(config, *(a_record(config, n, event(n, text=noise) if n == 1 else event(n)) for n in range(3)))
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)) as admin:
        limit = {"max.message.bytes": "1000"}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, config.kafka.topic, configs=limit)])
    found = redriven(config, [])
    assert found.not_taken == {f"{config.kafka.topic}/0/1": "MessageSizeTooLargeError"}
    assert found.sent == 2
    assert [mark.rpartition("/")[2] for mark in marks(config, partitions=PARTITIONS)] == ["0", "2"]


def test_of_two_who_redrive_at_once_the_later_goes_on_and_nothing_is_sent_twice(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(config, *(a_record(config, n, event(n)) for n in range(20)))
    monkeypatch.setattr(redriving, "MOST_LETTERS", 5)
    later = []

    def begin_another(_: Any) -> None:
        if not later:
            later.append(redriven(config, []))

    with pytest.raises(BrokerError, match="by somebody who began later; 5 were sent here before that, and none twice"):
        redriving.redrive(config, wanted=lambda _: True, dry_run=False, progress=begin_another)
    assert (later[0].sent, later[0].before) == (15, 5)
    assert sorted(marks(config, partitions=PARTITIONS)) == sorted(f"{config.kafka.topic}/0/{n}" for n in range(20))


def test_nobody_joins_a_group_and_a_topic_that_is_not_there_is_one_sentence(config: Config, broker: Broker) -> None:
    done = streamlearn(
        "dead-letters", "list", f"--set=kafka.bootstrap_servers={broker.bootstrap_servers}", "--set=kafka.topic=nothing"
    )
    assert done.returncode == 3
    assert done.stderr.startswith(
        f"streamlearn: Kafka at {broker.bootstrap_servers} has no topic 'nothing.dead-letters'"
    )
    refused(config, a_record(config, 1, event(1)))
    assert redriven(config, []).sent == 1
    with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)) as admin, suppress(KeyError):
        groups = {str(group.get("group_id", group)) for group in admin.list_groups()}
        assert config.kafka.group not in groups


def test_the_newest_letters_are_there_at_once_although_another_process_died_with_a_transaction_open(
    config: Config,
) -> None:
    refused(config, a_record(config, 1, event(1)))
    producer = redriving._producer(config.kafka)
    producer.begin_transaction()
    producer.send(config.kafka.topic, event(1)).get(timeout=30)
    producer._sender.force_close()
    assert redriven(config, []).sent == 1
    wait_until(lambda: len(marks(config, partitions=PARTITIONS)) == 1, "the open transaction has been ended")
