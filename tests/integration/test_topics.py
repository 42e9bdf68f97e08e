"""Topics with transactions in them, and topics that are created again under the same name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError

from streamlearn.commands.check import check
from streamlearn.commands.retracing import open_journal
from streamlearn.config import Config, load
from streamlearn.consumer.client import create_topic, topic_ids
from streamlearn.errors import BrokerError
from streamlearn.local.broker import Broker
from streamlearn.pipeline import Pipeline
from tests.fault.bits import assert_same_bits, unbroken_by_the_record
from tests.integration.conftest import settings
from tests.integration.learner import (
    LearnerProcess,
    event,
    learnt,
    send,
    surviving_state,
    wait_until,
    waits_for,
    with_topic,
)
from tests.integration.test_trouble import running, trained

pytestmark = pytest.mark.fault
PARTITIONS = 3


@pytest.fixture
def overrides(apache_kafka: Broker, topic: str, tiny_model: Path, tmp_path: Path) -> list[str]:
    topic = f"{tmp_path.name}-{topic}"
    return [
        *settings(apache_kafka, topic, tiny_model, tmp_path),
        "events.holdout_ratio=0",
        "updater.micro_batch=4",
        "publisher.checkpoints.keep=1000",
    ]


@pytest.fixture
def config(overrides: list[str]) -> Config:
    return with_topic(overrides, partitions=PARTITIONS)


@pytest.fixture
def transactions(config: Config) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(bootstrap_servers=config.kafka.bootstrap_servers, transactional_id=config.kafka.topic)
    producer.init_transactions()
    yield producer
    producer.close()


def transact(producer: KafkaProducer, config: Config, numbers: range, *, abort: bool = False) -> None:
    """Send the events `numbers` in one transaction, over all partitions."""
    producer.begin_transaction()
    for number in numbers:
        producer.send(config.kafka.topic, event(number), partition=number % PARTITIONS)
    producer.flush()
    (producer.abort_transaction if abort else producer.commit_transaction)()


def wait_until_there_is_no_lag(pipeline: Pipeline) -> None:
    def lags() -> list[float]:
        samples = [sample for family in pipeline.monitor.metrics.registry.collect() for sample in family.samples]
        return [sample.value for sample in samples if sample.name == "streamlearn_consumer_lag_records"]

    wait_until(lambda: lags() == [0.0] * PARTITIONS, "no partition has a lag")


def test_after_aborted_transactions_at_the_end_of_each_partition_there_is_no_lag_also_after_a_restart(
    config: Config, transactions: KafkaProducer
) -> None:
    transact(transactions, config, range(30))
    transact(transactions, config, range(30, 90), abort=True)
    for _ in range(2):
        pipeline = Pipeline(config)
        with running(pipeline):
            wait_until_there_is_no_lag(pipeline)
        state = surviving_state(config.publisher.directory)
        assert [position for _, _, position in state["positions"]] == [10 + 1 + 20 + 1] * PARTITIONS
        assert state["counts"] == {"trained": 30}


def test_a_partition_in_which_all_was_aborted_is_passed_by_and_makes_no_end_of_entries(
    config: Config, transactions: KafkaProducer
) -> None:
    transact(transactions, config, range(30), abort=True)
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: sum(pipeline.monitor.place()["positions"].values()) == 33, "all is passed by")
        steps = pipeline.monitor.metrics.steps._value.get()
        transact(transactions, config, range(30))
        wait_until(lambda: trained(pipeline) == 30, "what was committed is learnt")
    assert steps <= PARTITIONS


def test_steps_over_the_gaps_of_transactions_are_taken_again_to_the_same_bits(
    config: Config, overrides: list[str], transactions: KafkaProducer
) -> None:
    learner = LearnerProcess([*overrides, "publisher.checkpoints.every_steps=7"])
    try:
        for first in range(0, 90, 30):
            transact(transactions, config, range(first, first + 30))
            transact(transactions, config, range(1000 + first, 1030 + first), abort=True)
            learner.wait_for("streamlearn_events_total", first + 30, outcome="trained")
        ends = 3 * PARTITIONS * (10 + 1 + 10 + 1)
        wait_until(lambda: recorded_to(config) == ends, "the gap at the end is recorded")
    finally:
        learner.kill()
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until_there_is_no_lag(pipeline)
    state = surviving_state(config.publisher.directory)
    assert sum(position for _, _, position in state["positions"]) == ends
    assert state["counts"]["trained"] == 90
    assert_same_bits(state, unbroken_by_the_record(config, state))


def test_steps_taken_under_another_isolation_level_are_taken_again_as_they_were(
    config: Config, overrides: list[str], transactions: KafkaProducer, caplog: pytest.LogCaptureFixture
) -> None:
    never = ["publisher.checkpoints.every_steps=10000", "publisher.snapshots.every_steps=10000"]
    learner = LearnerProcess([*overrides, *never, "kafka.client.isolation_level=read_uncommitted"])
    try:
        transact(transactions, config, range(30))
        transact(transactions, config, range(30, 60), abort=True)
        learner.wait_for("streamlearn_events_total", 60, outcome="trained")
    finally:
        learner.kill()
    pipeline = Pipeline(load(overrides=[*overrides, *never]))
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 60, "the recorded steps are taken again")
        transact(transactions, config, range(60, 90))
        transact(transactions, config, range(90, 120), abort=True)
        wait_until(lambda: trained(pipeline) == 90, "from then on what was aborted is not read")
        wait_until_there_is_no_lag(pipeline)
    assert surviving_state(config.publisher.directory)["counts"] == {"trained": 90}
    assert "recorded under another configuration" in caplog.text


def test_a_compacted_topic_is_told_by_check_and_at_the_start(
    overrides: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = load(overrides=overrides)
    create_topic(config.kafka, config.kafka.topic, settings={"cleanup.policy": "compact,delete"})
    finding = next(iter(check(config)))
    assert isinstance(finding.error, BrokerError)
    assert "is compacted" in finding.found
    assert "publisher.journal.deleted" in finding.found
    aware = load(overrides=[*overrides, "publisher.journal.deleted=skip"])
    assert next(iter(check(aware))).ok
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: pipeline.consumer.term is not None, "it is active")
    assert caplog.text.count("is compacted") == 1


def recorded_to(config: Config) -> int:
    """Return the sum of the positions after the last step that is in a checkpoint or recorded behind it."""
    if not surviving(config):
        return 0
    state = surviving_state(config.publisher.directory)
    positions = {(topic, partition): offset for topic, partition, offset in state["positions"]}
    for decision in open_journal(config).decisions(state["step"]):
        positions |= {(wanted.topic, wanted.partition): wanted.end for wanted in decision.ranges}
    return sum(positions.values())


def surviving(config: Config) -> bool:
    return any((config.publisher.directory / "checkpoints").glob("0*"))


def anew(config: Config, values: list[bytes], *, partitions: int = 1) -> None:
    """Delete the topic, make it again, and send `values`."""
    before = topic_ids(config.kafka)
    admin = KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)
    admin.delete_topics([config.kafka.topic])
    admin.close()

    def made() -> bool:
        try:
            create_topic(config.kafka, config.kafka.topic, partitions=partitions)
        except (KafkaError, BrokerError):
            return False
        return topic_ids(config.kafka) not in ({}, before)

    wait_until(made, "the topic is created again")
    send(config, values, partitions=partitions)


def unnamed(numbers: range) -> list[bytes]:
    """Return events without an id."""
    return [json.dumps({k: v for k, v in json.loads(event(n)).items() if k != "id"}).encode() for n in numbers]


SIZES = pytest.mark.parametrize("records", [20, 150], ids=["smaller", "larger"])


@SIZES
def test_a_topic_that_is_created_again_while_the_learner_runs_is_learnt_whole_from_where_the_policy_says(
    config: Config, overrides: list[str], caplog: pytest.LogCaptureFixture, records: int
) -> None:
    caplog.set_level(logging.INFO)
    send(config, unnamed(range(60)), partitions=PARTITIONS)
    pipeline = Pipeline(load(overrides=[*overrides, "kafka.out_of_range=earliest"]))
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 60, "the old one is learnt")
        anew(config, unnamed(range(1000, 1000 + records)))
        wait_until(lambda: trained(pipeline) == 60 + records, "the new one is learnt")
    state = surviving_state(config.publisher.directory)
    assert state["positions"] == [[config.kafka.topic, 0, records]]
    assert state["topics"] == topic_ids(config.kafka)
    assert state["counts"] == {"trained": 60 + records}
    assert caplog.text.count("was deleted and created again: its id was") == 1
    assert "0 offsets are skipped" not in caplog.text


def test_while_the_topic_is_gone_the_learner_waits_for_it_and_does_not_take_kafka_for_away(
    config: Config, overrides: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    send(config, unnamed(range(30)), partitions=PARTITIONS)
    pipeline = Pipeline(load(overrides=[*overrides, "kafka.out_of_range=earliest"]))
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 30, "the old one is learnt")
        with closing(KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)) as admin:
            admin.delete_topics([config.kafka.topic])
        wait_until(lambda: f"there is no topic {config.kafka.topic}" in caplog.text, "it waits for the topic")
        wait_until(lambda: waits_for(pipeline) == ["topic"], "the page says so")
        assert pipeline.monitor.health.kafka_answers
        create_topic(config.kafka, config.kafka.topic)
        send(config, unnamed(range(1000, 1010)))
        wait_until(lambda: trained(pipeline) == 40, "the new one is learnt")
    assert "waiting for Kafka" not in caplog.text


@SIZES
def test_a_topic_that_was_created_again_while_no_learner_ran_is_told_before_anything_is_read(
    config: Config, overrides: list[str], caplog: pytest.LogCaptureFixture, records: int
) -> None:
    send(config, unnamed(range(60)), partitions=PARTITIONS)
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 60, "the old one is learnt")
    anew(config, unnamed(range(1000, 1000 + records)))
    with pytest.raises(BrokerError, match=r"was deleted and created again: its id was .*; set kafka\.out_of_range to"):
        Pipeline(config).run()
    again = Pipeline(load(overrides=[*overrides, "kafka.out_of_range=earliest"]))
    with running(again):
        wait_until(lambda: trained(again) == records, "the new one is learnt")
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"trained": 60 + records}
    assert len(learnt(state)) == 60 + records
    assert "was deleted and created again" in caplog.text


def test_latest_begins_at_the_end_of_the_new_topic(config: Config, overrides: list[str]) -> None:
    send(config, unnamed(range(30)), partitions=PARTITIONS)
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 30, "the old one is learnt")
    anew(config, unnamed(range(50)))
    again = Pipeline(load(overrides=[*overrides, "kafka.out_of_range=latest"]))
    with running(again):
        wait_until(lambda: surviving_state(config.publisher.directory)["topics"] == topic_ids(config.kafka), "it began")
        send(config, unnamed(range(100, 120)))
        wait_until(lambda: trained(again) == 20, "what came since is learnt")


def test_steps_recorded_of_a_topic_that_is_gone_are_not_taken_again_with_other_records(
    config: Config, overrides: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    send(config, unnamed(range(60)), partitions=PARTITIONS)
    learner = LearnerProcess([*overrides, "publisher.checkpoints.every_steps=10"])
    try:
        learner.wait_for("streamlearn_events_total", 60, outcome="trained")
        wait_until(lambda: surviving(config), "a checkpoint is written")
    finally:
        learner.kill()
    kept = surviving_state(config.publisher.directory)
    assert kept["counts"]["trained"] < 60
    anew(config, unnamed(range(1000, 1200)))
    with pytest.raises(BrokerError, match="created again"):
        Pipeline(config).run()
    again = Pipeline(load(overrides=[*overrides, "kafka.out_of_range=earliest"]))
    with running(again):
        wait_until(lambda: trained(again) == 200, "the new one is learnt")
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"trained": kept["counts"]["trained"] + 200}
    assert "are not re-run: the topic that held their records is gone" in caplog.text
    assert state["topics"] == topic_ids(config.kafka)
