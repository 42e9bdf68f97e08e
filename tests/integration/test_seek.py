"""A stopped learner is moved to another place in its topic by its own command, and by nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from streamlearn.commands.rebuild import rebuild
from streamlearn.commands.seek import plan, seek
from streamlearn.config import Config, load
from streamlearn.config.start import parse
from streamlearn.consumer import beginning, seeking
from streamlearn.consumer.client import make_admin, make_producer
from streamlearn.errors import BrokerError, ConfigurationError, StateError, StreamlearnError
from streamlearn.local.broker import Broker
from tests.conftest import streamlearn
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, with_topic
from tests.unit.kept import digest

pytestmark = pytest.mark.fault
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
    assert "or by an earlier streamlearn" in line
    assert "seek --to" not in line  # back there, events would be learnt twice
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


def committed(config: Config) -> dict[int, int]:
    """Return the offsets that the group has committed, by partition."""
    with closing(make_admin(config.kafka)) as admin:
        offsets = admin.list_group_offsets(config.kafka.group)[config.kafka.group]
    return {partition.partition: found.offset for partition, found in offsets.items()}


def test_moved_back_it_learns_again_moved_forward_it_never_learns_and_the_bits_can_be_made_again(
    config: Config, overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [event(n) for n in range(40)], partitions=2)
    learner = start_learner()
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    with pytest.raises(
        StreamlearnError,
        match=r"a learner runs or stands by with publisher\.directory .*, or another seek is at work; stop the learner",
    ):
        plan(config, "earliest")
    assert learner.terminate() == 0
    sets, topic = [f"--set={override}" for override in overrides], config.kafka.topic
    before = digest(config.publisher.directory)
    refused = streamlearn("seek", "--to", "offsets:0=5", *sets)
    assert (refused.returncode, refused.stdout) == (
        2,
        f"{topic}/0: would move from 20 to 5; 15 offsets back, whose events are learnt again\n",
    )
    assert "15 offsets would be read once more" in refused.stderr
    dry = json.loads(streamlearn("seek", "--to", "offsets:0=5", "--dry-run", "--json", *sets).stdout)
    assert (dry["again"], dry["skipped"], dry["done"]) == (15, 0, False)
    assert digest(config.publisher.directory) == before
    done = streamlearn("seek", "--to", "offsets:0=5", "--yes", *sets)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{topic}/0: moved from 20 to 5; 15 offsets back, whose events are learnt again",
        f"recorded as step {dry['step']}: the next learner goes on from there",
    ]
    assert committed(config) == {0: 5, 1: 20}
    assert not seek(config, "offsets:0=5", back=False).moves  # it is there already
    again = start_learner()
    again.wait_for("streamlearn_events_total", 15, outcome="trained")
    assert again.terminate() == 0
    assert RESET not in again.stderr()
    state = surviving_state(config.publisher.directory)
    assert (state["counts"], state["positions"]) == ({"trained": 55}, [[topic, 0, 20], [topic, 1, 20]])
    assert learnt(state) == sorted([(p, n) for p in (0, 1) for n in range(20)] + [(0, n) for n in range(5, 20)])
    send(config, [event(n) for n in range(40, 60)], partitions=2)
    forward = seek(config, "latest", back=False)
    assert (forward.skipped, forward.again, forward.done, forward.untold) == (20, 0, True, "")
    assert committed(config) == {0: 30, 1: 30}
    send(config, [event(n) for n in range(60, 68)], partitions=2)
    last = start_learner()
    last.wait_for("streamlearn_events_total", 8, outcome="trained")
    assert last.metric("streamlearn_events_total", outcome="skipped") == 20
    assert last.terminate() == 0
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"trained": 63, "skipped": 20}
    assert [position for _, _, position in state["positions"]] == [34, 34]
    made = rebuild(config, "latest")
    assert (made.difference, made.step) == (None, state["step"])


@pytest.mark.parametrize("to", ["latest", "timestamp:4000000000", "earliest"])
def test_a_place_is_found_in_a_topic_that_is_written_to_meanwhile(
    config: Config, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    send(config, [event(n) for n in range(20)], partitions=2)

    def first_offsets(*arguments: Any, **named: Any) -> Any:
        send(config, [event(n) for n in range(20, 22)], partitions=2)
        return beginning.first_offsets(*arguments, **named)

    monkeypatch.setattr(seeking, "first_offsets", first_offsets)
    targets = seeking.find(config.kafka, parse(to)).targets
    assert targets == dict.fromkeys([(config.kafka.topic, 0), (config.kafka.topic, 1)], 0 if to == "earliest" else 11)


def test_a_group_that_is_gone_has_no_members_and_is_told_all_the_same(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [event(n) for n in range(20)], partitions=2)
    learner = start_learner()
    learner.wait_for("streamlearn_events_total", 20, outcome="trained")
    assert learner.terminate() == 0
    with closing(make_admin(config.kafka)) as admin:
        admin.delete_groups([config.kafka.group])
    assert seeking.members(config.kafka) == {}
    moved = seek(config, "offsets:0=5", back=True)
    assert (moved.again, moved.done, moved.untold) == (5, True, "")
    assert committed(config) == {0: 5, 1: 10}


def test_a_place_that_is_none_a_directory_without_state_and_another_topic_are_refused_in_one_sentence(
    config: Config, overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    with pytest.raises(StateError, match=r"holds no state; kafka\.start says where a learner without any begins"):
        seek(config, "latest", back=False)
    assert not config.publisher.directory.exists()
    with closing(make_producer(config.kafka)) as producer:
        for n in range(20):
            producer.send(config.kafka.topic, event(n), partition=n % 2, timestamp_ms=1_700_000_000_000 + 1000 * n)
    learner = start_learner()
    learner.wait_for("streamlearn_events_total", 20, outcome="trained")
    learner.kill()  # its ghost is sent away
    for to, said in {
        "yesterday": "--to yesterday: must be earliest, latest",
        "offsets:7=1": "--to names partition 7, and topic .* has 2 of them, from 0",
        "offsets:1=11": "--to names offset 11 of .*/1, which has offsets 0 to 10",
    }.items():
        with pytest.raises(ConfigurationError, match=said):
            seek(config, to, back=True)
    member = {"bootstrap_servers": config.kafka.bootstrap_servers, "group_id": config.kafka.group}
    with pytest.raises(StateError, match="holds the state of group"):
        seek(load(overrides=[*overrides, "kafka.group=another"]), "latest", back=True)
    before = digest(config.publisher.directory)
    with closing(KafkaConsumer(config.kafka.topic, **member)) as elsewhere:  # with a directory of its own, as it were
        while not elsewhere.assignment():
            elsewhere.poll(timeout_ms=500)
        with pytest.raises(StreamlearnError, match=r"has a member on 127\.0\.0\.1: stop that learner first"):
            seek(config, "latest", back=True)
    assert digest(config.publisher.directory) == before
    killed = start_learner()
    killed.wait_until_learning()
    killed.kill()
    assert plan(config, "timestamp:1700000012").again == 8  # though the group has not missed it yet
    moved = seek(config, "timestamp:1700000012", back=True)
    assert [(move.partition, move.to) for move in moved.moves] == [(0, 6), (1, 6)]
    with closing(make_admin(config.kafka)) as admin:
        admin.delete_topics([config.kafka.topic])
    with pytest.raises(BrokerError, match="has no topic"):
        seek(config, "latest", back=True)
    with_topic(overrides, partitions=2)
    with pytest.raises(BrokerError, match="deleted and created again, and positions are those of the old one"):
        seek(config, "latest", back=True)
