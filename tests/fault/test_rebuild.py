"""Any published snapshot can be made again, and one that was altered is found out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamlearn.config import Config, load
from streamlearn.consumer.client import create_topic
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.learner import Learner
from streamlearn.local.broker import Broker
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.rebuild import rebuild
from tests.fault.streams import learner_settings, stream
from tests.fault.victim import exit_code, start
from tests.integration.learner import send, surviving_state


@pytest.fixture(scope="module")
def overrides(broker: Broker, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The settings of a learner that has learnt a stream, published snapshots and ended."""
    directory = tmp_path_factory.mktemp("rebuilt")
    chosen = [
        *learner_settings(broker, "rebuilt", tiny_model, directory),
        "publisher.checkpoints.keep=3",
        "publisher.snapshots.keep=20",
    ]
    config = load(overrides=chosen)
    create_topic(config.kafka, "rebuilt")
    records = list(stream(200))
    send(config, records)
    assert exit_code(start(chosen, until=len(records))) == 0
    return chosen


@pytest.fixture
def config(overrides: list[str]) -> Config:
    return load(overrides=overrides)


@pytest.fixture
def store(config: Config) -> SnapshotStore:
    return SnapshotStore(config.publisher.directory / "snapshots")


def test_the_newest_snapshot_is_made_again_with_the_same_bits(config: Config, store: SnapshotStore) -> None:
    made = rebuild(config, "latest")
    assert made.difference is None
    assert made.from_step < made.step == 50 == store.manifest(made.version)["step"]
    assert made.events == 4 * (made.step - made.from_step)


def test_one_altered_value_is_named(config: Config, overrides: list[str], tmp_path: Path) -> None:
    learner = Learner(config)
    learner.load(surviving_state(config.publisher.directory))
    export = learner.export(learner.state())
    export.weights["classifier.weight"][1, 7] += 1e-6
    SnapshotStore(tmp_path / "snapshots").write(1, 50, export, {"config_digest": config.digest()})
    altered = [*overrides, f"publisher.directory={tmp_path}"]
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


def test_a_snapshot_from_before_the_oldest_checkpoint_cannot_be_made_again(
    config: Config, store: SnapshotStore
) -> None:
    with pytest.raises(StateError, match=r"does not lead from step 0 to step .*checkpoints\.keep"):
        rebuild(config, str(store.versions()[0]))


def test_another_configuration_is_no_audit(overrides: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="another configuration"):
        rebuild(load(overrides=[*overrides, "updater.learning_rate=0.5"]), "latest")
