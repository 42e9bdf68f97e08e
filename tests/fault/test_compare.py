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
from tests.conftest import streamlearn
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


def test_several_are_compared_in_one_run_each_from_the_same_state_and_drawn(ended: list[str], tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("updater: {learning_rate: 0.01}\n")
    settings = [f"--set={value}" for value in ended if not value.startswith("updater.learning_rate")]
    told = [f"--with={ended[0]}", f"--with={file}", f"--with={ended[0]}", "--with=updater.learning_rate=0.01"]
    picture = tmp_path / "compared.png"
    done = streamlearn("compare", "--from-step=30", "--to-step=40", "--json", f"--plot={picture}", *told, *settings)
    assert (done.returncode, done.stderr) == (0, "")
    recorded, first, *rates = json.loads(done.stdout)
    assert [course["configuration"] for course in rates] == [str(file), "updater.learning_rate=0.01"]
    without = [{**course, "configuration": ""} for course in (recorded, first, *rates)]
    assert without[0] == without[1]
    assert without[2] == without[3] != without[0]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_it_says_what_it_can_begin_with_and_begins_with_each(ended: list[str]) -> None:
    settings = [f"--set={value}" for value in ended]
    listed = json.loads(streamlearn("compare", "--list", "--json", *settings).stdout)
    assert {one["recorded_to"] for one in listed} == {50}
    config = load(overrides=ended)
    for one in listed[:-1]:
        recorded, other = compare(config, from_step=one["step"])
        assert recorded.steps == other.steps == 50 - one["step"]
    shown = streamlearn("compare", "--list", *settings).stdout.splitlines()
    assert len(shown) == 1 + len(listed)
    assert shown[0].split()[0] == "--from-step"


def test_where_to_begin_has_to_be_said(ended: list[str]) -> None:
    done = streamlearn("compare", *(f"--set={value}" for value in ended))
    assert done.returncode != 0
    assert done.stderr.strip().endswith("say where to begin with --from-step; --list shows what can be reached")


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
