"""A stopped learner is moved to another place in its topic by its own command, and by nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, with_topic

RESET = "were committed by another program"


@pytest.fixture
def overrides(apache_kafka: Broker, topic: str, tiny_model: Path, tmp_path: Path) -> list[str]:
    return [*settings(apache_kafka, f"seek-{topic}", tiny_model, tmp_path), "events.holdout_ratio=0"]


@pytest.fixture
def config(overrides: list[str]) -> Config:
    return with_topic(overrides, partitions=2)


def group_tool(config: Config, *arguments: str) -> str:
    """Run Kafka's own tool for groups."""
    java = ["java", "-Xmx256m", "-cp", f"{os.environ['KAFKA_HOME']}/libs/*"]
    tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
    whose = ["--bootstrap-server", config.kafka.bootstrap_servers, "--group", config.kafka.group]
    return subprocess.run([*java, tool, *whose, *arguments], capture_output=True, text=True, check=True).stdout


def test_offsets_that_kafkas_own_tool_has_reset_are_not_followed_which_is_said_once_with_what_to_do(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    reset = ("--reset-offsets", "--topic", config.kafka.topic, "--execute")
    group_tool(config, *reset, "--to-latest")
    send(config, [event(n) for n in range(40)], partitions=2)
    learner = start_learner()
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    assert learner.stderr().count(RESET) == 0  # they are where it begins
    assert learner.terminate() == 0
    group_tool(config, *reset, "--to-offset", "5")
    send(config, [event(n) for n in range(40, 60)], partitions=2)
    again = start_learner("publisher.checkpoints.every_steps=1")
    again.wait_for("streamlearn_events_total", 20, outcome="trained")
    again.wait_for("streamlearn_last_commit_timestamp_seconds", 1)
    (line,) = [line for line in again.stderr().splitlines() if RESET in line]
    topic = config.kafka.topic
    assert f"{topic}/0 is read from 20 and not from 5, {topic}/1 is read from 20 and not from 5. Positions" in line
    assert "stop the learner and give 'streamlearn seek --to offsets:0=5,1=5'" in line
    again.kill()
    third = start_learner()
    third.wait_until_learning()
    assert third.terminate() == 0
    assert RESET not in third.stderr()
    state = surviving_state(config.publisher.directory)
    assert learnt(state) == [(partition, offset) for partition in (0, 1) for offset in range(30)]


def test_where_there_is_no_state_the_line_says_that_kafka_start_counts(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [event(n) for n in range(20)], partitions=2)
    group_tool(config, "--reset-offsets", "--topic", config.kafka.topic, "--execute", "--to-latest")
    learner = start_learner()
    learner.wait_for("streamlearn_events_total", 20, outcome="trained")
    assert learner.terminate() == 0
    (line,) = [line for line in learner.stderr().splitlines() if RESET in line]
    assert line.endswith("A learner without state begins where kafka.start says")
