"""The group rebalances at a bad moment: the active learner keeps its place, or loses it and nothing else."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.structs import MemberState

from streamlearn.checkpointing import checkpoints
from streamlearn.checkpointing.fence import Fence
from streamlearn.config import Config
from streamlearn.consumer import reading
from streamlearn.consumer.assignor import SingleActiveAssignor
from streamlearn.consumer.client import make_consumer
from streamlearn.errors import NotKeptError
from streamlearn.local.broker import Broker, NoidaDB
from streamlearn.pipeline import Pipeline
from tests.fault.bits import assert_each_event_once_and_the_same_bits
from tests.fault.streams import stream
from tests.integration.conftest import settings
from tests.integration.learner import dealt_with, event, learnt, send, surviving_state, wait_until, with_topic
from tests.integration.test_trouble import running

PARTITIONS = 3


@pytest.fixture
def config(broker: Broker, tiny_model: Path, tmp_path: Path) -> Config:
    overrides = [
        *settings(broker, tmp_path.name, tiny_model, tmp_path),
        "kafka.client.heartbeat_interval_ms=300",
        "kafka.client.metadata_max_age_ms=500",
        "kafka.poll_records=20",
        "updater.micro_batch=4",
        "publisher.checkpoints.every_seconds=0.5",
        "publisher.checkpoints.keep=1000",
    ]
    return with_topic(overrides, partitions=PARTITIONS)


@pytest.fixture
def admin(config: Config) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)
    yield client
    client.close()


class Gate:
    """Holds whoever passes for the first time until it is opened."""

    def __init__(self) -> None:
        self.reached, self._opened = threading.Event(), threading.Event()

    def __call__(self, *_: Any) -> None:
        self.reached.set()
        assert self._opened.wait(60)

    def open(self) -> None:
        self._opened.set()


def held_in_a_step(config: Config, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    del monkeypatch
    return Pipeline(config, on_step=gate)


def held_in_a_checkpoint(config: Config, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    save = checkpoints.write_state

    def save_later(*arguments: Any) -> None:
        gate()
        save(*arguments)

    monkeypatch.setattr(checkpoints, "write_state", save_later)
    return Pipeline(config)


def held_in_recovery(config: Config, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Return a pipeline that re-runs recorded steps; one whose checkpoints all failed has recorded them."""

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_state", refuse)
        first = Pipeline(config)
        with pytest.raises(NotKeptError), running(first):
            wait_until(lambda: first.monitor.metrics.steps._value.get() > 10, "some steps")
    return Pipeline(config, on_step=gate)


HELD = [held_in_a_step, held_in_a_checkpoint, held_in_recovery]
Held = Callable[[Config, Gate, pytest.MonkeyPatch], Pipeline]


@pytest.mark.parametrize("held", HELD)
def test_while_others_come_and_go_the_active_learner_keeps_its_term(
    broker: Broker, config: Config, monkeypatch: pytest.MonkeyPatch, held: Held
) -> None:
    if isinstance(broker, NoidaDB):
        pytest.skip("the development broker begins a generation when a member leaves, and the others are late for it")
    records, gate = list(stream(400)), Gate()
    send(config, records, partitions=PARTITIONS)
    pipeline = held(config, gate, monkeypatch)
    with running(pipeline):
        wait_until(gate.reached.is_set, "it is held")
        term = pipeline.consumer.term
        assigned: list[set[Any]] = []
        other = make_consumer(config.kafka, assignor=SingleActiveAssignor(assigned.append))
        other.subscribe([config.kafka.topic])
        wait_until(lambda: other.poll(timeout_ms=100) == {} and bool(assigned), "the other has joined")
        assert assigned == [set()]
        other.close()
        gate.open()
        wait_until(lambda: dealt_with(config) == len(records), "all is in a checkpoint")
        assert pipeline.consumer.term == term
    assert_each_event_once_and_the_same_bits(config, len(records))


@pytest.mark.parametrize("held", HELD)
def test_a_membership_that_is_lost_and_comes_back_loses_no_position(
    config: Config,
    admin: KafkaAdminClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    held: Held,
) -> None:
    caplog.set_level(logging.INFO, logger="streamlearn")
    records, gate = list(stream(400)), Gate()
    send(config, records, partitions=PARTITIONS)
    pipeline = held(config, gate, monkeypatch)
    with running(pipeline):
        wait_until(gate.reached.is_set, "it is held")
        term = pipeline.consumer.term
        assert term is not None
        expel_all(admin, config)
        wait_until(lambda: (pipeline.consumer.term or 0) > term, "it has become active again")
        gate.open()
        wait_until(lambda: dealt_with(config) == len(records), "all is in a checkpoint")
    assert f"lost membership of group {config.kafka.group} (3 partitions); rejoining" in caplog.text
    assert_each_event_once_and_the_same_bits(config, len(records))


def test_fenced_by_a_claim_that_came_too_late_the_learner_resigns_and_takes_over_anew(config: Config) -> None:
    records = list(stream(400))
    half = len(records) // 2
    send(config, records[:half], partitions=PARTITIONS)
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: dealt_with(config) == half, "half is in a checkpoint")
        source = json.loads((config.publisher.directory / "fence.json").read_bytes())["source"]
        Fence(config.publisher.directory, source=source).claim(0)
        send(config, records[half:], partitions=PARTITIONS)
        wait_until(lambda: dealt_with(config) == len(records), "all is in a checkpoint")
        assert pipeline.consumer.term == 2
    assert_each_event_once_and_the_same_bits(config, len(records))


def expel_all(admin: KafkaAdminClient, config: Config) -> None:
    """Take the membership of every member of the group away."""
    members = admin.describe_groups([config.kafka.group])[config.kafka.group]["members"]
    admin.remove_group_members(config.kafka.group, [MemberToRemove(member["member_id"]) for member in members])


def test_a_join_that_kafka_python_forgets_is_begun_anew(
    apache_kafka: Broker, config: Config, admin: KafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    del apache_kafka  # the development broker answers a join at once
    config = config.model_copy(
        update={
            "kafka": config.kafka.model_copy(
                update={"client": config.kafka.client | {"session_timeout_ms": 6000, "heartbeat_interval_ms": 300}}
            )
        }
    )
    send(config, [event(n) for n in range(30)], partitions=PARTITIONS)
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: dealt_with(config) == 30, "what is there is learnt")
        monkeypatch.setattr(reading, "POLL_MILLISECONDS", 0)  # every answer comes between two polls
        admin.create_partitions({config.kafka.topic: PARTITIONS + 1})
        wait_until(lambda: pipeline.consumer._client.group_metadata().state is MemberState.REBALANCING, "it is stuck")
        monkeypatch.undo()
        send(config, [event(n) for n in range(30, 70)], partitions=PARTITIONS + 1)
        wait_until(lambda: dealt_with(config) == 70, "it has joined again")


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_partitions_added_while_it_runs_are_read_from_their_beginning(
    config: Config, admin: KafkaAdminClient, start: str
) -> None:
    config = config.model_copy(
        update={
            "kafka": config.kafka.model_copy(update={"start": start}),
            "events": config.events.model_copy(update={"holdout_ratio": 0.0}),
        }
    )
    send(config, [event(n) for n in range(30)], partitions=PARTITIONS)
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: pipeline.consumer._reading.active, "it reads")
        send(config, [event(n) for n in range(30, 60)], partitions=PARTITIONS)
        admin.create_partitions({config.kafka.topic: PARTITIONS + 2})
        send(config, [event(n) for n in range(60, 110)], partitions=PARTITIONS + 2)
        wait_until(lambda: dealt_with(config) == (110 if start == "earliest" else 80), "all is in a checkpoint")
    skipped = 0 if start == "earliest" else 10
    wanted = [(p, offset) for p in range(PARTITIONS) for offset in range(skipped, 30)]
    wanted += [(p, offset) for p in range(PARTITIONS, PARTITIONS + 2) for offset in range(10)]
    assert learnt(surviving_state(config.publisher.directory)) == wanted
