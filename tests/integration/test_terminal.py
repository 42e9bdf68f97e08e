"""What a person sees of a learner from a terminal: its first lines, what it refuses, and how it does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.conftest import streamlearn
from tests.integration.learner import LearnerProcess, event, send, wait_until
from tests.integration.redriving import renamed


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """A running broker, whichever."""
    return one_broker


def test_a_start_at_which_everything_is_refused_says_so_within_a_hundred_records_and_ends_when_events_come(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [renamed(n) for n in range(100)])
    learner = start_learner()
    wait_until(lambda: "since the start" in learner.stderr(), "it is said")
    said = next(line for line in learner.stderr().splitlines() if "since the start" in line)
    assert "ERROR" in said
    assert "records since the start: 20 missing_field: label; " in said
    assert "streamlearn dead-letters list" in said
    assert f"page and metrics: http://127.0.0.1:{learner.port}/" in learner.stderr()
    send(config, [event(1)])
    wait_until(
        lambda: "the first record is an event, after 100 that were refused" in learner.stderr(), "that it is over"
    )
    assert learner.terminate() == 0


def test_status_asks_the_running_learner_and_then_what_it_has_left(
    config: Config, overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    sets = [f"--set={override}" for override in overrides]
    listed = streamlearn("snapshots", "list", *sets)
    assert (listed.returncode, listed.stdout.startswith("there is no snapshot: ")) == (0, True)
    assert streamlearn("snapshots", "list", *sets, "--json").stdout == "[]\n"
    send(config, [event(n) for n in range(60)] + [b"no JSON"])
    learner = start_learner()
    learner.wait_for("streamlearn_dead_letters_total", 1, reason="not_json")
    learner.wait_for("streamlearn_last_step_timestamp_seconds", 1)
    port = f"--set=monitor.port={learner.port}"
    wait_until(
        lambda: "1 not_json" in streamlearn("status", *sets, port).stdout, "the dead letter is among what is told"
    )
    told = streamlearn("status", *sets, port).stdout
    assert told.startswith(f"learner at http://127.0.0.1:{learner.port}/: active\n")
    assert f"topic  {config.kafka.topic}, group {config.kafka.group}" in told
    assert json.loads(streamlearn("status", *sets, port, "--json").stdout)["running"] is True
    assert learner.terminate() == 0
    left = streamlearn("status", *sets, port)
    assert left.returncode == 0
    assert left.stdout.startswith(f"no learner answers at http://127.0.0.1:{learner.port}/; ")
    for row in ("records  5", "dead letters  1 not_json", "figures  accuracy ", "checkpoint  of step "):
        assert f" {row}" in left.stdout
    assert "lag" not in left.stdout
    assert "snapshot  1 of step " in left.stdout
    found = json.loads(streamlearn("status", *sets, port, "--json").stdout)
    assert (found["running"], found["live"], found["snapshot"]["version"]) == (False, None, 1)
    assert found["past"]["dead_letters"]["last"][0]["reason"] == "not_json"
