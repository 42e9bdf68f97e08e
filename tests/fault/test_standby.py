"""Two learners of one group: one is active, the other stands by, and they never both change the state."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.fault.bits import assert_each_event_once_and_the_same_bits
from tests.fault.streams import stream
from tests.fault.victim import exit_code, start
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, answers, dealt_with, learners, send, wait_until, with_topic

TRAINED = 400
PARTITIONS = 3


@pytest.fixture
def overrides(apache_kafka: Broker, tiny_model: Path, tmp_path: Path) -> list[str]:
    """The settings of learners that share a group and a directory."""
    return [
        *settings(apache_kafka, tmp_path.name, tiny_model, tmp_path),
        "kafka.client.session_timeout_ms=6000",
        "kafka.client.heartbeat_interval_ms=500",
        "kafka.poll_records=50",
        "updater.micro_batch=4",
        "publisher.checkpoints.every_steps=10",
        "publisher.checkpoints.every_seconds=0.5",
        "publisher.checkpoints.keep=1000",
        "publisher.snapshots.every_steps=10",
    ]


@pytest.fixture
def config(overrides: list[str]) -> Config:
    return with_topic(overrides, partitions=PARTITIONS)


@pytest.fixture
def learner(overrides: list[str]) -> Iterator[Callable[[], LearnerProcess]]:
    with learners(overrides) as start:
        yield start


def ready(learner: LearnerProcess) -> bool:
    return answers(f"http://127.0.0.1:{learner.port}/readyz")


def active(learner: LearnerProcess) -> float:
    return learner.metric("streamlearn_active")


def pair(learner: Callable[[], LearnerProcess]) -> tuple[LearnerProcess, LearnerProcess]:
    """Return an active learner and one that stands by."""
    first = learner()
    wait_until(lambda: active(first) == 1, "the first is active")
    second = learner()
    wait_until(lambda: ready(second), "the second is ready")
    assert (active(first), active(second)) == (1, 0)
    return first, second


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_active_one_ends_the_standby_goes_on_and_each_event_is_learnt_once(
    config: Config, learner: Callable[[], LearnerProcess], by: signal.Signals
) -> None:
    first, second = pair(learner)
    records = list(stream(TRAINED))
    half = len(records) // 2
    send(config, records[:half], partitions=PARTITIONS)
    first.wait_for("streamlearn_steps_total", 25)
    first.process.send_signal(by)
    assert first.process.wait(30) == (0 if by == signal.SIGTERM else -by)
    send(config, records[half:], partitions=PARTITIONS)
    wait_until(lambda: active(second) == 1, "the second is active")
    wait_until(lambda: dealt_with(config) == len(records), "the rest is in a checkpoint")
    assert second.terminate() == 0
    assert_each_event_once_and_the_same_bits(config, len(records))


def test_a_frozen_learner_that_wakes_up_stands_by_and_can_take_over_again(
    config: Config, learner: Callable[[], LearnerProcess]
) -> None:
    first, second = pair(learner)
    records = list(stream(TRAINED))
    third = len(records) // 3
    send(config, records[:third], partitions=PARTITIONS)
    first.wait_for("streamlearn_steps_total", 10)
    first.process.send_signal(signal.SIGSTOP)
    send(config, records[third : 2 * third], partitions=PARTITIONS)
    wait_until(lambda: second.metric("streamlearn_publishes_total", outcome="published") > 1, "the second publishes")
    first.process.send_signal(signal.SIGCONT)
    wait_until(lambda: active(first) == 0 and ready(first), "the first stands by")
    assert active(second) == 1
    second.kill()
    wait_until(lambda: active(first) == 1, "the first is active again")
    send(config, records[2 * third :], partitions=PARTITIONS)
    wait_until(lambda: dealt_with(config) == len(records), "the rest is in a checkpoint")
    assert first.terminate() == 0
    assert_each_event_once_and_the_same_bits(config, len(records))
    assert "another learner has taken over" in first.stderr()


def owner(config: Config) -> str:
    return str(json.loads((config.publisher.directory / "fence.json").read_text())["owner"])


def frozen(pid: int | None) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def contents(directory: Path) -> dict[Path, Any]:
    """Return what is published and kept in `directory`: each file's bytes and each link's target."""
    return {
        path: path.readlink() if path.is_symlink() else path.read_bytes()
        for room in ("checkpoints", "snapshots")
        for path in (directory / room).rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("point", ["poll", "optimiser step", "temp write", "fsync", "offset commit"])
def test_frozen_anywhere_and_woken_up_after_its_replacement_a_learner_changes_nothing(
    config: Config, overrides: list[str], point: str
) -> None:
    records = list(stream(TRAINED))
    send(config, records, partitions=PARTITIONS)
    first = start(overrides, until=len(records), point=point, by=signal.SIGSTOP)
    wait_until(lambda: frozen(first.pid), f"it is frozen after {point}")
    second = start(overrides, until=len(records))
    assert exit_code(second) == 0
    before = contents(config.publisher.directory)
    os.kill(first.pid or 0, signal.SIGCONT)
    assert exit_code(first) == 0  # it takes over in its turn, and finds that everything is learnt
    assert contents(config.publisher.directory) == before
    assert_each_event_once_and_the_same_bits(config, len(records))


def test_a_learner_frozen_in_the_middle_of_a_change_is_waited_for(config: Config, overrides: list[str]) -> None:
    records = list(stream(TRAINED))
    send(config, records, partitions=PARTITIONS)
    first = start(overrides, until=len(records), point="rename", by=signal.SIGSTOP)
    wait_until(lambda: frozen(first.pid), "it is frozen with the directory locked")
    mine = owner(config)
    admin = KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)

    def members() -> set[str]:
        return {
            member["member_id"] for member in admin.describe_groups([config.kafka.group])[config.kafka.group]["members"]
        }

    gone = members()
    second = start(overrides, until=len(records))
    wait_until(lambda: bool(members()) and not members() & gone, "the group has only the second")
    admin.close()
    assert owner(config) == mine
    os.kill(first.pid or 0, signal.SIGCONT)
    assert exit_code(second) == 0
    assert exit_code(first) == 0
    assert_each_event_once_and_the_same_bits(config, len(records))
