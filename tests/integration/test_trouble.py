"""What goes wrong between Kafka and the learner, and what the learner makes of it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from streamlearn.config import Config, load
from streamlearn.consumer.consumer import Consumer
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.consumer.decode import Decoder
from streamlearn.errors import BrokerError
from streamlearn.local.broker import Broker
from streamlearn.pipeline import Pipeline
from streamlearn.reports import StepReport
from streamlearn.source import Watch
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, wait_until, waits_for

Start = Callable[..., LearnerProcess]


@contextmanager
def running(pipeline: Pipeline) -> Iterator[Future[None]]:
    """Run `pipeline` on a thread; stop it at the end and raise what ended it."""
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(pipeline.run)
        try:
            yield future
        finally:
            pipeline.stop()
        future.result()


def trained(pipeline: Pipeline) -> float:
    return float(pipeline.monitor.metrics.events.labels("trained")._value.get())


@pytest.fixture
def admin(broker: Broker) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    yield client
    client.close()


def test_a_step_longer_than_the_poll_interval_keeps_the_membership(config: Config, overrides: list[str]) -> None:
    send(config, [event(n) for n in range(64)])
    interval = ["kafka.client.max_poll_interval_ms=3000", "kafka.client.session_timeout_ms=6000"]
    first_step = threading.Event()

    def take_long(_: StepReport) -> None:
        if not first_step.is_set():
            first_step.set()
            threading.Event().wait(7)  # the long step

    pipeline = Pipeline(load(overrides=[*overrides, *interval, "events.holdout_ratio=0"]), on_step=take_long)
    with running(pipeline):
        wait_until(first_step.is_set, "a first step")
        rebalances = pipeline.monitor.metrics.rebalances._value.get()
        wait_until(lambda: trained(pipeline) == 64, "the rest is learnt")
        assert pipeline.monitor.metrics.rebalances._value.get() == rebalances
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(64)]


def test_where_reading_begins_is_told_as_it_was_though_records_have_come_since(config: Config) -> None:
    class Hasty(Consumer):
        def _begin_to_read(self) -> None:
            with self._changed:  # whoever waits for the answer cannot have it before records are queued
                super()._begin_to_read()
                while self._reading.active and not len(self.queue):
                    self._reading.poll(self._client)

    send(config, [event(n) for n in range(20)])
    nothing: Any = lambda *_: None  # noqa: E731
    consumer = Hasty(
        config.kafka,
        decoder=Decoder(config.events),
        dead_letters=DeadLetters(nothing, "none", refused=nothing),
        watch=Watch(),
    )
    consumer.start()
    try:
        assert consumer.wait_for_term(0, 30) == 1
        assert consumer.read_from({}, {}, 30) == {(config.kafka.topic, 0): 0}
        assert len(consumer.queue) == 20
    finally:
        consumer.stop()


def test_a_full_queue_pauses_fetching_and_everything_still_arrives_once(config: Config, overrides: list[str]) -> None:
    send(config, [event(n) for n in range(300)])
    longest = 0

    def look(_: StepReport) -> None:
        nonlocal longest
        longest = max(longest, len(pipeline.consumer.queue))

    small = ["kafka.queue_records=40", "kafka.poll_records=10", "events.holdout_ratio=0"]
    pipeline = Pipeline(load(overrides=[*overrides, *small]), on_step=look)
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 300, "all is learnt")
    assert longest < 40 + 10
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(300)]


@pytest.mark.parametrize(("policy", "first"), [("earliest", 50), ("latest", 60)])
def test_after_retention_the_policy_says_where_to_go_on(
    apache_kafka: Broker, config: Config, overrides: list[str], start_learner: Start, policy: str, first: int
) -> None:
    if overrides[0] != f"kafka.bootstrap_servers={apache_kafka.bootstrap_servers}":
        pytest.skip("the development broker deletes no records on request")
    learn_then_delete(config, overrides, apache_kafka)
    learner = start_learner(f"kafka.out_of_range={policy}", "events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", first - 20, outcome="skipped")
    send(config, [event(n) for n in range(60, 80)])
    learner.wait_for("streamlearn_events_total", 80 - first, outcome="trained")
    assert learner.terminate() == 0
    wanted = [(0, offset) for offset in range(80) if offset < 20 or offset >= first]
    assert learnt(surviving_state(config.publisher.directory)) == wanted


def test_after_retention_the_learner_fails_with_one_sentence_unless_told_otherwise(
    apache_kafka: Broker, config: Config, overrides: list[str]
) -> None:
    if overrides[0] != f"kafka.bootstrap_servers={apache_kafka.bootstrap_servers}":
        pytest.skip("the development broker deletes no records on request")
    learn_then_delete(config, overrides, apache_kafka)
    with pytest.raises(BrokerError, match=r"has offsets 50 to 60, and 20 is wanted; set kafka\.out_of_range"):
        Pipeline(load(overrides=overrides)).run()


def learn_then_delete(config: Config, overrides: list[str], broker: Broker) -> None:
    """Learn offsets 0 to 20, stop, send up to 60, and delete what is before 50."""
    send(config, [event(n) for n in range(20)])
    pipeline = Pipeline(load(overrides=[*overrides, "events.holdout_ratio=0"]))
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 20, "20 events are learnt")
    send(config, [event(n) for n in range(20, 60)])
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    admin.delete_records({TopicPartition(config.kafka.topic, 0): 50})
    admin.close()


def test_a_dead_letter_topic_that_takes_nothing_stops_consumption_until_it_does(
    apache_kafka: Broker, config: Config, overrides: list[str]
) -> None:
    if overrides[0] != f"kafka.bootstrap_servers={apache_kafka.bootstrap_servers}":
        pytest.skip("the development broker has no limit on the size of messages")
    admin = KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    dead = config.kafka.dead_letter_topic
    admin.create_topics(
        [NewTopic(name=dead, num_partitions=1, replication_factor=1, topic_configs={"max.message.bytes": "200"})]
    )
    send(config, [*(event(n) for n in range(20)), b"x" * 500])
    pipeline = Pipeline(load(overrides=[*overrides, "events.holdout_ratio=0", "kafka.poll_records=5"]))
    with running(pipeline):
        wait_until(lambda: pipeline.dead_letters.blocked, "the dead letter is not taken")
        wait_until(lambda: waits_for(pipeline) == ["dead_letters"], "the page says so")
        send(config, [event(n) for n in range(20, 200)])
        assert not pipeline.dead_letters.settle(0.5)
        assert trained(pipeline) < 200
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, dead, configs={"max.message.bytes": "100000"})])
        wait_until(lambda: trained(pipeline) == 200, "learning goes on")
        assert pipeline.dead_letters.settle(10)
    admin.close()


def test_probes_and_metrics_answer_while_the_learner_runs(config: Config, start_learner: Start) -> None:
    send(config, [event(n) for n in range(64)])
    learner = start_learner("events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", 64, outcome="trained")
    for probe, answer in (("healthz", b"alive\n"), ("readyz", b"ready\n")):
        with urllib.request.urlopen(f"http://127.0.0.1:{learner.port}/{probe}", timeout=5) as response:
            assert response.read() == answer
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{learner.port}/nowhere", timeout=5)
    wait_until(
        lambda: learner.metric("streamlearn_consumer_lag_records", topic=config.kafka.topic, partition="0") == 0,
        "no lag",
    )
    assert learner.metric("streamlearn_active") == 1
    assert learner.metric("streamlearn_buffer_records") == 64
