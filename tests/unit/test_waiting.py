"""What a learner says that it waits for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from streamlearn.config import Kafka, load
from streamlearn.control import Control
from streamlearn.monitor.health import Health
from streamlearn.monitor.monitor import IDLE_SECONDS, LOOK_SECONDS, Monitor
from streamlearn.monitor.waiting import Waiting
from streamlearn.records import Partition
from streamlearn.reports import MicroBatch, Standing, StepReport
from tests.unit.builders import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health() -> Health:
    health = Health(60.0)
    health.model_loaded = health.joined = health.active = True
    return health


@pytest.fixture
def waiting(health: Health, clock: Clock) -> Waiting:
    return Waiting(health, Control(), Kafka(topic="mails", group="g"), clock=clock)


def things(waiting: Waiting) -> list[str]:
    return [one["for"] for one in waiting.view()]


def sentence(waiting: Waiting) -> str:
    (one,) = waiting.view()
    return str(one["text"])


def test_while_it_learns_it_waits_for_nothing(waiting: Waiting) -> None:
    assert waiting.view() == []


def test_before_it_learns_it_waits_for_one_thing_after_the_other(waiting: Waiting, health: Health) -> None:
    health.model_loaded = health.joined = health.active = health.kafka_answers = False
    waiting.reading, found = "topic", []
    for name in ("model_loaded", "kafka_answers", "joined"):
        found += things(waiting)
        setattr(health, name, True)
    found += things(waiting)
    waiting.reading = ""
    found += things(waiting)
    assert found == ["model", "kafka", "group", "topic", "turn"]
    assert sentence(waiting) == "standing by: another learner of group g is active"


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (
            "dead_letters",
            "waiting for topic mails.dead-letters to take dead letters: until it does, nothing more is read",
        ),
        ("schemas", "waiting for the schema registry, without which no record can be decoded"),
        (
            "learning",
            "reading waits for learning: as much has been read ahead as kafka.queue_records and queue_bytes allow",
        ),
    ],
)
def test_the_active_one_says_what_reading_waits_for(waiting: Waiting, reading: str, said: str) -> None:
    waiting.reading = reading
    assert sentence(waiting) == said


def test_without_a_step_for_a_while_it_waits_for_events_or_for_what_kafka_has(waiting: Waiting) -> None:
    waiting.idle = True
    assert sentence(waiting) == "waiting for events: whether the topic holds more is not known yet"
    waiting.behind = False
    assert sentence(waiting) == "waiting for events: all that the topic holds has been dealt with"
    waiting.behind = True
    assert sentence(waiting) == "waiting for records that Kafka has and has not handed over yet"


def test_a_failed_checkpoint_is_said_beside_whatever_else_is_waited_for(waiting: Waiting, health: Health) -> None:
    waiting.checkpoint, waiting.idle = "[Errno 28] No space left on device", True
    assert things(waiting) == ["events", "checkpoint"]
    assert waiting.view()[1]["text"].endswith("while learning goes on: [Errno 28] No space left on device")
    health.active = False
    assert things(waiting) == ["turn"]


def test_what_a_library_says_cannot_forge_a_line_nor_show_a_secret(waiting: Waiting) -> None:
    waiting.takeover = "takeover blocked: \x1b[2J https://user:hush@registry"
    assert "hush" not in sentence(waiting)
    assert r"\x1b[2J" in sentence(waiting)


def test_it_is_known_since_when_each_thing_is_waited_for(waiting: Waiting, clock: Clock) -> None:
    waiting.idle = True
    assert waiting.view()[0]["since"] == 100.0
    clock.now, waiting.checkpoint = 130.0, "disk"
    assert [one["since"] for one in waiting.view()] == [100.0, 130.0]
    waiting.idle = False
    assert things(waiting) == ["checkpoint"]
    clock.now, waiting.idle = 140.0, True
    assert [one["since"] for one in waiting.view()] == [140.0, 130.0]


@pytest.fixture
def monitor(clock: Clock, tmp_path: Path) -> Monitor:
    monitor = Monitor(load(overrides=["monitor.port=0", f"publisher.directory={tmp_path}"]), clock=clock)
    monitor.loaded()
    monitor.joined(True)
    return monitor


def test_a_takeover_says_what_it_does_and_what_blocks_it(monitor: Monitor) -> None:
    monitor.activated(True)
    assert sentence(monitor.waiting).startswith("taking over: loading the newest checkpoint")
    monitor.blocked("[Errno 5] Input/output error")
    assert sentence(monitor.waiting) == "takeover blocked, and retried: [Errno 5] Input/output error"
    monitor.blocked("")
    assert sentence(monitor.waiting).startswith("taking over")
    monitor.taken_over()
    assert things(monitor.waiting) == []
    monitor.activated(True)
    monitor.activated(False)
    assert things(monitor.waiting) == ["turn"]


def test_a_learner_that_takes_no_step_for_a_while_waits_for_events_until_it_takes_one(
    monitor: Monitor, clock: Clock
) -> None:
    lag: dict[Partition, int] = {("t", 0): 0}

    def beat(seconds: float) -> list[str]:
        clock.now += seconds
        monitor.beat(lambda: (Standing(), lag))
        return things(monitor.waiting)

    monitor.activated(True)
    monitor.taken_over()
    assert beat(LOOK_SECONDS) == []
    assert beat(IDLE_SECONDS) == ["events"]
    assert sentence(monitor.waiting).endswith("has been dealt with")
    del lag["t", 0]  # where Kafka has not said yet
    assert beat(LOOK_SECONDS) == ["events"]
    assert sentence(monitor.waiting).endswith("is not known yet")
    lag["t", 0] = 5
    assert beat(LOOK_SECONDS) == ["records"]
    report = StepReport(step=1, batch=MicroBatch(), outcomes=Counter(), refused=[])
    monitor.stepped(Standing(), report, 0.1)
    assert things(monitor.waiting) == []
    assert beat(LOOK_SECONDS) == []
    monitor.control.ask("pause")
    assert beat(IDLE_SECONDS) == ["operator"]
    assert monitor.waiting.state == "paused"


def test_a_checkpoint_that_fails_is_waited_for_until_one_is_written(monitor: Monitor) -> None:
    monitor.activated(True)
    monitor.taken_over()
    monitor.checkpointed("failed", 0.1, "No space left on device")
    assert things(monitor.waiting) == ["checkpoint"]
    monitor.checkpointed("written", 0.1)
    assert things(monitor.waiting) == []
