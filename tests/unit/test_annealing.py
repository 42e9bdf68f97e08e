"""The annealed copy of a language model: better, measured as it is published, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlearn.capture import capture_snapshot
from streamlearn.config import load
from streamlearn.errors import ConfigurationError
from streamlearn.learner import Learner
from streamlearn.learner.evaluation.bits import Bits
from streamlearn.publisher.snapshots import SnapshotStore
from tests.unit.builders import flat
from tests.unit.conftest import MakeConfig
from tests.unit.language import snapshot, take_steps

WAYS = [[], ["updater.trains=lora", "updater.dropout=0.1"], ["updater.regularizer=ewc", "updater.trains=last-1"]]


@pytest.mark.parametrize("more", WAYS, ids=["all", "lora", "ewc"])
def test_nothing_of_it_stays_with_the_learner_to_the_last_bit(
    make_language_config: MakeConfig, more: list[str]
) -> None:
    config = make_language_config("updater.annealing_steps=3", "updater.replay_ratio=0.5", *more)
    published, other = Learner(config), Learner(config)
    for learner in (published, other):
        take_steps(learner, 0, 5)
    before = flat(published.state())
    captured = capture_snapshot(published, config, version=1)
    assert flat(published.state()) == before
    assert flat(captured.state | {"version": 0}) == before
    for learner in (published, other):
        take_steps(learner, 5, 8)
    assert flat(published.state()) == flat(other.state())


def test_what_is_published_is_better_and_is_what_was_measured(make_language_config: MakeConfig, tmp_path: Path) -> None:
    config = make_language_config("updater.annealing_steps=20")
    learner = Learner(config)
    take_steps(learner, 0, 60)
    captured = capture_snapshot(learner, config, version=1)
    assert captured.export is not None
    measured, own = captured.accuracy["validation"], learner.evaluate()["validation"].figure
    assert measured is not None
    assert own is not None
    assert measured < own
    path = SnapshotStore(tmp_path).write(1, learner.step, captured.export, captured.provenance)
    published = Learner(make_language_config(f"updater.model={path}"))
    held = dict(learner.holdout.splits())["validation"]
    assert Bits.of(published.updater.measure(held)).figure == pytest.approx(measured, rel=1e-6)


def test_the_same_learner_publishes_the_same_bits_again(make_language_config: MakeConfig, tmp_path: Path) -> None:
    config = make_language_config("updater.annealing_steps=4", "updater.dropout=0.1")
    paths = []
    for number in range(2):
        learner = Learner(config)
        take_steps(learner, 0, 6)
        paths.append(snapshot(learner, config, tmp_path / str(number)))
    one, other = (path / "model.safetensors" for path in paths)
    assert one.read_bytes() == other.read_bytes()


def test_it_is_refused_where_labels_are_learnt() -> None:
    with pytest.raises(
        ConfigurationError, match=r"updater\.annealing_steps is for updater\.objective: language_model only"
    ):
        load(overrides=["updater.annealing_steps=3"])
