"""SIGTERM where something is stuck: the learner ends all the same, soon, and says what it could not keep."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from streamlearn.config import Config
from streamlearn.consumer.client import create_topic
from streamlearn.local.broker import ApacheKafka, Broker
from streamlearn.local.feed import read_dead_letters
from tests.conftest import fill
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, wait_until, with_topic

ENDS_WITHIN = 20.0  # seconds, on a machine that has other things to do
Start = Callable[..., LearnerProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start learners; whatever still runs at the end is killed."""
    started: list[LearnerProcess] = []

    def begin(overrides: list[str]) -> LearnerProcess:
        started.append(LearnerProcess(overrides))
        return started[-1]

    yield begin
    for learner in started:
        learner.kill()


def end(learner: LearnerProcess) -> int:
    """Send SIGTERM, and once more a little later; return the exit code that came soon enough."""
    begun = time.monotonic()
    learner.process.send_signal(signal.SIGTERM)
    os.kill(learner.process.pid, signal.SIGTERM)
    code = learner.process.wait(ENDS_WITHIN)
    assert time.monotonic() - begun < ENDS_WITHIN
    return code


def prepared(broker: Broker, topic: str, model: Path, directory: Path, **dead: str) -> tuple[list[str], Config]:
    """Make the topics, that of dead letters with `dead`, for a learner that seldom writes checkpoints."""
    overrides = [
        *settings(broker, topic, model, directory),
        "events.holdout_ratio=0",
        "publisher.checkpoints.every_steps=1000",
        "publisher.snapshots.every_steps=1000",
    ]
    config = with_topic(overrides)
    create_topic(config.kafka, config.kafka.dead_letter_topic, settings=dead)
    return overrides, config


def test_where_dead_letters_are_stuck_it_ends_soon_with_1_and_says_what_is_learnt_again(
    apache_kafka: Broker, tiny_model: Path, tmp_path: Path, start: Start
) -> None:
    limit = {"max.message.bytes": "150"}  # less than a stub
    overrides, config = prepared(apache_kafka, "stuck", tiny_model, tmp_path, **limit)
    send(config, [*(event(n) for n in range(40)), b"no JSON" * 100])
    learner = start(overrides)
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    learner.wait_for("streamlearn_dead_letters_total", 1, reason="not_json")
    assert end(learner) == 1
    said = learner.stderr().splitlines()
    assert said[-1].startswith("streamlearn: stopped at step ")
    assert "there is no checkpoint, because dead letters are not acknowledged yet: what was learnt since" in said[-1]
    assert sum("consumption paused" in line for line in said) == 1
    resource = ConfigResource(
        ConfigResourceType.TOPIC, config.kafka.dead_letter_topic, configs={"max.message.bytes": "9999"}
    )
    admin = KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    admin.alter_configs([resource])
    admin.close()
    again = start(overrides)
    again.wait_for("streamlearn_events_total", 40, outcome="trained")
    again.wait_until_learning()
    again.wait_for("streamlearn_dead_letters_total", 1, reason="not_json")
    assert end(again) == 0
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(40)]
    assert read_dead_letters(config.kafka, 1) == {40: (b"no JSON" * 100, "not_json")}


def test_before_anything_is_learnt_it_ends_at_once(tiny_model: Path, tmp_path: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and says nothing
        address = f"kafka.bootstrap_servers=127.0.0.1:{silent.getsockname()[1]}"
        overrides = [f"updater.model={tiny_model}", f"publisher.directory={tmp_path}", "kafka.topic=never", address]
        learner = start(overrides)
        silent.settimeout(60)
        silent.accept()
        begun = time.monotonic()
        assert end(learner) == 0
        assert time.monotonic() - begun < ENDS_WITHIN / 2
    assert "Traceback" not in learner.stderr()


def test_while_recorded_steps_are_waited_for_it_ends_at_once(
    broker: Broker, tiny_model: Path, tmp_path: Path, start: Start
) -> None:
    overrides, config = prepared(broker, "recovering", tiny_model, tmp_path)
    send(config, [event(n) for n in range(40)])
    learner = start(overrides)
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    learner.kill()
    code = (
        "import time\n"
        "from streamlearn import cli\n"
        "from streamlearn.consumer.reread import Rereader\n"
        "Rereader.read = lambda *_: time.sleep(600)\n"  # as where Kafka has stopped to answer
        "cli.main()\n"
    )
    arguments = ["run", *(f"--set={override}" for override in overrides)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        again = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=output)
    try:
        wait_until(lambda: "re-running journal steps" in log.read_text(), "it takes over")
        again.send_signal(signal.SIGTERM)
        assert again.wait(ENDS_WITHIN) == 0
    finally:
        again.kill()
    assert "Traceback" not in log.read_text()


def stop(broker: ApacheKafka) -> None:
    broker.stop()


def freeze(broker: ApacheKafka) -> None:
    os.kill(broker.pid, signal.SIGSTOP)


@pytest.mark.parametrize("trouble", [stop, freeze])
def test_where_kafka_does_not_answer_it_ends_soon_with_its_checkpoint_written(
    own_broker: ApacheKafka,
    tiny_model: Path,
    tmp_path: Path,
    start: Start,
    trouble: Callable[[ApacheKafka], None],
) -> None:
    overrides, config = prepared(own_broker, "away", tiny_model, tmp_path)
    send(config, [event(n) for n in range(40)])
    learner = start(overrides)
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    trouble(own_broker)
    try:
        assert end(learner) == 0
    finally:
        if trouble is freeze:
            os.kill(own_broker.pid, signal.SIGCONT)
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(40)]


def test_where_the_disk_refuses_it_ends_with_1_and_says_what_is_learnt_again(
    broker: Broker, tiny_model: Path, disk: Path, start: Start
) -> None:
    overrides, config = prepared(broker, "refused", tiny_model, disk)
    send(config, [event(n) for n in range(40)])
    learner = start(overrides)
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    filler = fill(disk)
    assert end(learner) == 1
    assert "No space left on device: what was learnt since is learnt again" in learner.stderr().splitlines()[-1]
    filler.unlink()
    again = start(overrides)
    again.wait_for("streamlearn_events_total", 40, outcome="trained")
    again.wait_until_learning()
    assert end(again) == 0
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(40)]
