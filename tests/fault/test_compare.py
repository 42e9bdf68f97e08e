"""A recorded stretch of the stream runs again under another configuration, beside the recorded one."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from streamlearn.checkpointing.checkpoints import step_of
from streamlearn.commands.compare import compare
from streamlearn.config import load
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.local.broker import Broker
from tests.fault.streams import learner_settings
from tests.fault.victim import exit_code, start
from tests.integration.learner import event, send, with_topic


def test_the_same_configuration_fares_the_same(ended: list[str]) -> None:
    recorded, other = compare(load(overrides=ended), from_step=30)
    assert (recorded.steps, recorded.events) == (20, 80)
    assert (other.accuracy, other.loss, other.validation) == (recorded.accuracy, recorded.loss, recorded.validation)


def test_with_dropout_and_a_label_that_comes_late_the_same_configuration_has_the_same_course(
    broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    settings = [*learner_settings(broker, "dropout", tiny_model, tmp_path), "updater.dropout=0.3"]
    settings += ["publisher.checkpoints.keep=1000", "events.holdout_ratio=0"]
    config = with_topic(settings)
    records = [event(n, label="late" if n > 80 and n % 5 == 0 else None) for n in range(120)]
    send(config, records)
    assert exit_code(start(settings, until=len(records))) == 0
    (checkpoint, *_) = sorted((config.publisher.directory / "checkpoints").iterdir())
    recorded, other = compare(config, from_step=step_of(checkpoint.name))  # which is at exactly that step
    assert recorded.steps == 30 - step_of(checkpoint.name)
    assert dataclasses.replace(other, configuration="recorded") == recorded


def test_another_rate_fares_otherwise_on_the_same_events(ended: list[str]) -> None:
    recorded, other = compare(load(overrides=[*ended, "updater.learning_rate=0.01"]), from_step=30, to_step=45)
    assert (recorded.steps, other.steps) == (15, 15)
    assert recorded.events == other.events == 60
    assert other.loss != recorded.loss


def test_another_micro_batch_cuts_the_same_events_otherwise(ended: list[str]) -> None:
    recorded, other = compare(load(overrides=[*ended, "updater.micro_batch=10"]), from_step=30)
    assert (recorded.steps, other.steps) == (20, 8)
    assert recorded.events == other.events == 80


@pytest.mark.parametrize("name", ["compare", "replay"])
def test_the_command_prints_both_also_under_its_old_name(name: str, ended: list[str]) -> None:
    settings = [f"--set={value}" for value in ended]
    done = subprocess.run(
        [sys.executable, "-m", "streamlearn", name, "--from-step", "40", "--json", *settings],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [course["configuration"] for course in json.loads(done.stdout)] == ["recorded", "other"]


def test_what_is_not_recorded_is_said(ended: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="no step after 50 is recorded"):
        compare(load(overrides=ended), from_step=50)
    with pytest.raises(StateError, match="does not reach back to step 2"):
        compare(load(overrides=ended), from_step=2)
