"""Builders of events, records and tiny learners for the unit tier."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.config import Config, load
from streamlearn.events import Event
from streamlearn.local.tiny import save_tiny_language_model
from streamlearn.reports import MicroBatch
from tests.unit.builders import make_event, make_record
from tests.unit.kept import leave_behind
from tests.unit.labelled import examples, tuned, write
from tests.unit.language import settings

MakeConfig = Callable[..., Config]


@pytest.fixture
def make_config(tiny_model: Path) -> MakeConfig:
    """Return the configuration of a tiny learner, a transformer alone and all of it, with the given overrides."""

    def make(*overrides: str) -> Config:
        alone = ["updater.experts=[transformer]", "updater.pooling=native", "updater.trains=all"]
        return load(overrides=[f"updater.model={tiny_model}", "updater.micro_batch=4", *alone, *overrides])

    return make


@pytest.fixture
def labelled_file(tmp_path: Path) -> Path:
    """160 labelled examples, as JSON lines."""
    return write(tmp_path / "train.jsonl", examples(160))


@pytest.fixture
def tuned_config(tiny_model: Path) -> Config:
    """The configuration of some experts of each kind, that learn such examples."""
    return tuned(tiny_model)


@pytest.fixture(scope="session", params=["llama", "gpt2"])
def language_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model of each kind."""
    return save_tiny_language_model(tmp_path_factory.mktemp(request.param), kind=request.param)


@pytest.fixture
def make_language_config(language_model: Path) -> MakeConfig:
    """Return the configuration of a learner of `language_model` with the given overrides."""
    return lambda *overrides: load(overrides=[*settings(language_model), *overrides])


@pytest.fixture
def micro_batches() -> list[MicroBatch]:
    """Twelve micro-batches of four events with three labels."""
    batches = []
    for number in range(12):
        fresh: list[Event] = [make_event(4 * number + index) for index in range(4)]
        held_out = [make_event(1000 + number)]
        batches.append(
            MicroBatch(
                fresh=fresh,
                records=[make_record(b"", offset=event.offset) for event in fresh],
                held_out=held_out,
                positions={("t", 0): 4 * number + 4},
            )
        )
    return batches


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of a learner that was killed after three checkpoints and two snapshots."""
    directory = tmp_path_factory.mktemp("whole") / "state"
    leave_behind(directory)
    return directory


@pytest.fixture
def directory(whole: Path, tmp_path: Path) -> Path:
    """A copy of `whole`."""
    return shutil.copytree(whole, tmp_path / "state", symlinks=True)
