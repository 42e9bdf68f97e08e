"""The annealed copy of a language model: better, measured as it is published, and nothing of it stays."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from streamlearn.capture import capture_snapshot
from streamlearn.config import Config, load
from streamlearn.errors import ConfigurationError, DeviceError
from streamlearn.learner import Learner
from streamlearn.learner.evaluation.bits import Bits
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.updater.language.updater import LanguageUpdater
from tests.unit.builders import flat
from tests.unit.conftest import MakeConfig
from tests.unit.language import snapshot, take_steps


def updater_of(learner: Learner) -> LanguageUpdater:
    assert isinstance(learner.updater, LanguageUpdater)
    return learner.updater


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


def two_of(config: Config) -> tuple[Learner, Learner]:
    learners = Learner(config), Learner(config)
    for learner in learners:
        take_steps(learner, 0, 6)
    return learners


def assert_the_same_bits_later(*learners: Learner) -> None:
    for learner in learners:
        take_steps(learner, 6, 9)
    one, other = (flat(learner.state()) for learner in learners)
    assert one == other


def failing(monkeypatch: pytest.MonkeyPatch, updater: LanguageUpdater, at: int, error: BaseException) -> None:
    """Let the `at`-th step from now on fail in the middle, with the gradient in place."""
    step, count = updater.descent.optimizer._dense.step, itertools.count(1)

    def fail(*_: object) -> object:
        if next(count) == at:
            raise error
        return step()

    monkeypatch.setattr(updater.descent.optimizer._dense, "step", fail)


@pytest.mark.parametrize(
    "error", [MemoryError("no memory"), RuntimeError("the device"), DeviceError("it is gone")], ids=repr
)
def test_where_it_fails_the_model_is_published_as_it_is_and_the_learner_keeps_its_bits(
    make_language_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = make_language_config("updater.annealing_steps=3")
    learner, other = two_of(config)
    with monkeypatch.context() as patched:
        failing(patched, updater_of(learner), 2, error)
        captured = capture_snapshot(learner, config, version=1)
    assert captured.export is not None
    assert flat(captured.export.weights) == flat(other.export(other.state()).weights)
    assert f"what is published is not annealed: {error}" in caplog.text
    assert_the_same_bits_later(learner, other)


def test_an_interruption_leaves_nothing_behind_either(
    make_language_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_language_config("updater.annealing_steps=3")
    learner, other = two_of(config)
    with monkeypatch.context() as patched:
        failing(patched, updater_of(learner), 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            capture_snapshot(learner, config, version=1)
    assert_the_same_bits_later(learner, other)


def test_a_copy_that_is_no_better_is_not_published(make_language_config: MakeConfig) -> None:
    config = make_language_config("updater.annealing_steps=30")
    learner = Learner(config)
    take_steps(learner, 0, 3)
    updater_of(learner).descent.optimizer._rates = [30.0 for _ in updater_of(learner).descent.optimizer._rates]
    captured = capture_snapshot(learner, config, version=1)
    assert captured.export is not None
    assert flat(captured.export.weights) == flat(learner.export(learner.state()).weights)
    assert captured.accuracy["validation"] == learner.evaluate()["validation"].figure


def test_the_rate_falls_from_where_it_stands_during_the_warm_up_too(
    make_language_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_language_config("updater.annealing_steps=4", "updater.warmup_steps=100")
    learner = Learner(config)
    take_steps(learner, 0, 10)
    optimizer, rates = updater_of(learner).descent.optimizer, list[float]()
    stands, step = optimizer.rate, optimizer.step

    def watched(norm: float) -> None:
        rates.append(optimizer.rate)
        step(norm)

    monkeypatch.setattr(optimizer, "step", watched)
    capture_snapshot(learner, config, version=1)
    assert rates == pytest.approx([stands * factor for factor in (1.0, 0.75, 0.5, 0.25)])
    assert optimizer.rate == stands
