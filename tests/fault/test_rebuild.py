"""Any published snapshot can be made again, and one that was altered is found out."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.commands.compare import compare
from streamlearn.commands.rebuild import rebuild
from streamlearn.commands.retracing import Retracing, open_journal
from streamlearn.config import Config, load
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.learner import Learner
from streamlearn.local.broker import Broker
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.state import Export
from tests.fault.bits import assert_same_bits
from tests.fault.streams import learner_settings, stream
from tests.fault.victim import exit_code, start
from tests.integration.learner import send, surviving_state, with_topic


@pytest.fixture
def config(ended: list[str]) -> Config:
    return load(overrides=ended)


@pytest.fixture
def store(config: Config) -> SnapshotStore:
    return SnapshotStore(config.publisher.directory / "snapshots")


def test_the_newest_snapshot_is_made_again_with_the_same_bits(config: Config, store: SnapshotStore) -> None:
    made = rebuild(config, "latest")
    assert made.difference is None
    assert made.from_step < made.step == 50 == store.manifest(made.version)["step"]
    assert made.events == 4 * (made.step - made.from_step)


def weight(export: Export) -> None:
    export.weights["classifier.weight"][1, 7] += 1e-6


def tensor_of_the_mixture(export: Export) -> None:
    export.mixture["pool"]["weights"][1] += 1e-9


def number_of_the_mixture(export: Export) -> None:
    export.mixture["pool"]["steps"] += 1


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (weight, "classifier.weight differs in 1 of its"),
        (tensor_of_the_mixture, "pool/weights differs in 1 of its"),
        (number_of_the_mixture, "experts.safetensors differs in what is no tensor"),
    ],
)
def test_one_altered_value_is_named(
    config: Config, ended: list[str], tmp_path: Path, alter: Callable[[Export], None], said: str
) -> None:
    learner = Learner(config)
    learner.load(surviving_state(config.publisher.directory))
    export = learner.export(learner.state())
    alter(export)
    SnapshotStore(tmp_path / "snapshots").write(1, 50, export, {"config_digest": config.digest()})
    altered = [*ended, f"publisher.directory={tmp_path}"]
    for room in ("checkpoints", "journal"):
        (tmp_path / room).symlink_to(config.publisher.directory / room)
    done = subprocess.run(
        [sys.executable, "-m", "streamlearn", "rebuild", "--version", "1", *(f"--set={value}" for value in altered)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in done.stdout
    assert done.returncode == 1


def test_a_snapshot_to_which_no_checkpoint_leads_cannot_be_made_again(
    config: Config, ended: list[str], tmp_path: Path
) -> None:
    for room in ("snapshots", "journal"):  # but not the checkpoints, behind the oldest of which the journal begins
        (tmp_path / room).symlink_to(config.publisher.directory / room)
    with pytest.raises(StateError, match=r"does not lead from step 0 to step 50.*checkpoints\.keep"):
        rebuild(load(overrides=[*ended, f"publisher.directory={tmp_path}"]), "latest")


def test_what_counts_is_the_configuration_that_is_recorded_and_not_the_one_given(ended: list[str]) -> None:
    assert rebuild(load(overrides=[*ended, "updater.learning_rate=0.5"]), "latest").difference is None


def test_a_snapshot_of_a_configuration_that_is_not_recorded_is_no_audit(
    config: Config, ended: list[str], tmp_path: Path
) -> None:
    learner = Learner(config)
    learner.load(surviving_state(config.publisher.directory))
    export = learner.export(learner.state())
    SnapshotStore(tmp_path / "snapshots").write(1, 50, export, {"config_digest": "of another"})
    for room in ("checkpoints", "journal"):
        (tmp_path / room).symlink_to(config.publisher.directory / room)
    with pytest.raises(ConfigurationError, match="another configuration than the journal records"):
        rebuild(load(overrides=[*ended, f"publisher.directory={tmp_path}"]), "1")


def test_across_a_change_of_the_configuration_each_step_is_taken_again_under_its_own(
    broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    """Killed under one rate, the steps behind the checkpoint are taken again under another, and others follow."""
    first = [
        *learner_settings(broker, "changed", tiny_model, tmp_path),
        "publisher.checkpoints.keep=1000",
        "publisher.checkpoints.every_steps=11",
        "publisher.snapshots.every_steps=1000",
        "updater.dropout=0.1",
    ]
    config = with_topic(first)
    records = list(stream(200))
    send(config, records)
    half = len(records) // 2
    assert exit_code(start(first, until=half)) == 0
    second = [*first, "updater.learning_rate=0.003", "updater.dropout=0.2", "monitor.drift.delta=0.01"]
    seldom = "publisher.checkpoints.every_steps=1000"
    killed = start([*second, seldom], until=len(records), point="optimiser step", nth=14)
    assert exit_code(killed) == -signal.SIGKILL
    third = [*second, "updater.learning_rate=0.001"]
    assert exit_code(start(third, until=len(records))) == 0
    state = surviving_state(config.publisher.directory)
    for checkpoint in sorted((config.publisher.directory / "checkpoints").iterdir())[1:]:
        shutil.rmtree(checkpoint)
    retracing = Retracing(config)
    stretches = open_journal(config).stretches(11)
    assert [stretch.configuration["updater"]["learning_rate"] for stretch in stretches] == [1e-4, 1e-3]
    assert retracing.load_before(11, strictly=False) == []
    for _ in retracing.take(stretches):
        pass
    assert_same_bits(retracing.learner.state() | {"version": state["version"]}, state)
    made = rebuild(config, "latest")
    assert (made.from_step, made.difference) == (11, None)
    change = 11 + len(stretches[0].decisions)
    recorded, other = compare(load(overrides=third), from_step=change - 2)
    assert (recorded.steps, recorded.events) == (other.steps, other.events)
    assert recorded.loss != other.loss
    recorded, other = compare(load(overrides=third), from_step=change)
    assert (recorded.loss, recorded.accuracy) == (other.loss, other.accuracy)
