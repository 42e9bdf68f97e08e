"""A running learner is told what to do from a terminal, and begins where it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import pytest

from streamlearn.config import Config
from streamlearn.consumer.client import make_producer
from streamlearn.local.broker import Broker
from tests.conftest import streamlearn
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, wait_until, with_topic


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """A running broker, whichever."""
    return one_broker


def test_a_learner_pauses_resumes_checkpoints_and_publishes_when_it_is_told(
    config: Config, overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    seldom = ["publisher.checkpoints.every_steps=null", "publisher.snapshots.every_seconds=null"]
    seldom += ["publisher.checkpoints.every_seconds=null", "publisher.snapshots.every_steps=null"]
    send(config, [event(n) for n in range(40)])
    learner = start_learner("events.holdout_ratio=0", *seldom)
    learner.wait_for("streamlearn_events_total", 40, outcome="trained")
    sets = [f"--set={override}" for override in [*overrides, f"monitor.port={learner.port}"]]
    written = json.loads(streamlearn("checkpoint", "--json", *sets).stdout)
    assert written["answer"] == f"the checkpoint of step {written['step']} is written"
    assert learner.metric("streamlearn_checkpoints_total", outcome="written") == 1
    assert learner.metric("streamlearn_publishes_total", outcome="published") == 0
    assert streamlearn("pause", *sets).returncode == 0
    assert "paused" in streamlearn("status", *sets).stdout.splitlines()[0]
    send(config, [event(n) for n in range(40, 80)])
    learner.wait_for("streamlearn_paused", 1)  # the loop shows it when it comes round
    assert streamlearn("publish", *sets).stdout == f"snapshot 1 of step {written['step']} is published\n"
    assert learner.metric("streamlearn_publishes_total", outcome="published") == 1
    assert learner.metric("streamlearn_events_total", outcome="trained") == 40
    assert streamlearn("resume", *sets).returncode == 0
    learner.wait_for("streamlearn_events_total", 80, outcome="trained")
    assert learner.terminate() == 0
    assert learnt(surviving_state(config.publisher.directory)) == [(0, n) for n in range(80)]
    done = streamlearn("pause", *sets)
    assert (done.returncode, done.stderr) == (
        1,
        f"streamlearn: no learner answers at http://127.0.0.1:{learner.port}/\n",
    )


def test_a_learner_without_state_begins_at_a_time_or_at_offsets_and_one_with_state_where_it_was(
    overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    config = with_topic(overrides, partitions=2)
    with closing(make_producer(config.kafka)) as producer:
        for n in range(20):
            producer.send(config.kafka.topic, event(n), partition=n % 2, timestamp_ms=1_700_000_000_000 + 1000 * n)
    begins = {"offsets:0=7": 3 + 10, "timestamp:1700000012": 8}
    for number, (start, trained) in enumerate(begins.items()):
        there = [
            f"kafka.start={start}",
            f"kafka.group=g{number}",
            f"publisher.directory={config.publisher.directory}-{number}",
        ]
        learner = start_learner("events.holdout_ratio=0", *there)
        learner.wait_for("streamlearn_events_total", trained, outcome="trained")
        wait_until(
            lambda at=learner: at.metric("streamlearn_checkpoints_total", outcome="written") >= 1, "a checkpoint"
        )
        assert learner.terminate() == 0
        state = surviving_state(config.publisher.directory.parent / f"{config.publisher.directory.name}-{number}")
        assert state["counts"] == {"trained": trained}
        wanted = [(0, n) for n in (range(7, 10) if number == 0 else range(6, 10))]
        wanted += [(1, n) for n in (range(10) if number == 0 else range(6, 10))]
        assert learnt(state) == wanted
    again = start_learner("events.holdout_ratio=0", "kafka.start=offsets:9=1", "kafka.group=g1", there[2])
    wait_until(lambda: "learning from step" in again.stderr(), "its state says where it goes on")
    assert again.terminate() == 0
    odd = start_learner("kafka.start=offsets:9=1", "kafka.group=g9", f"{there[2]}-odd")
    assert odd.process.wait(120) == 3
    assert "kafka.start names partition 9, and topic" in odd.stderr()
