"""Any published snapshot can be made again, and one that was altered is found out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamlearn.config import Config, load
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.learner import Learner
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.rebuild import rebuild
from tests.integration.learner import surviving_state


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


def test_one_altered_value_is_named(config: Config, ended: list[str], tmp_path: Path) -> None:
    learner = Learner(config)
    learner.load(surviving_state(config.publisher.directory))
    export = learner.export(learner.state())
    export.weights["classifier.weight"][1, 7] += 1e-6
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
    assert "classifier.weight differs in 1 of its" in done.stdout
    assert done.returncode == 1


def test_a_snapshot_to_which_no_checkpoint_leads_cannot_be_made_again(
    config: Config, ended: list[str], tmp_path: Path
) -> None:
    for room in ("snapshots", "journal"):  # but not the checkpoints, behind the oldest of which the journal begins
        (tmp_path / room).symlink_to(config.publisher.directory / room)
    with pytest.raises(StateError, match=r"does not lead from step 0 to step 50.*checkpoints\.keep"):
        rebuild(load(overrides=[*ended, f"publisher.directory={tmp_path}"]), "latest")


def test_another_configuration_is_no_audit(ended: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="another configuration"):
        rebuild(load(overrides=[*ended, "updater.learning_rate=0.5"]), "latest")
