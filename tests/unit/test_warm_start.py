"""A learner that begins with a mixture that was published, in place of a model alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import streamlearn
from streamlearn.capture import capture_snapshot
from streamlearn.config import Config, load
from streamlearn.errors import ConfigurationError
from streamlearn.events import Event, Reason
from streamlearn.learner import Learner
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.reports import MicroBatch
from streamlearn.updater import Updater
from tests.unit.builders import flat, learn, make_event, make_record
from tests.unit.kept import flip
from tests.unit.test_learner import admitted

TEXTS = [make_event(number) for number in range(40, 52)]


def configured(model: Path, *overrides: str) -> Config:
    fixed = "events.holdout_ratio=0.2", "updater.micro_batch=4", "updater.learning_rate=1e-2"
    return load(overrides=[f"updater.model={model}", *fixed, *overrides])


def taught(config: Config, numbers: range, make: Callable[[int], Event] = make_event) -> Learner:
    learner = Learner(config)
    for first in range(numbers.start, numbers.stop, 4):
        learn(learner, admitted(learner, *map(make, range(first, first + 4))))
    return learner


def published(learner: Learner, config: Config, directory: Path) -> Path:
    capture = capture_snapshot(learner, config, version=1)
    assert capture.export
    return SnapshotStore(directory / "snapshots").write(1, capture.step, capture.export, capture.provenance)


def of_one_expert(model: Path, name: str) -> tuple[Learner, Config]:
    config = configured(model, f"updater.experts=[{name}]")
    return taught(config, range(12)), config


@pytest.fixture(scope="module")
def before(tiny_model: Path) -> tuple[Learner, Config]:
    """A learner with every expert, and what it was configured with."""
    config = configured(tiny_model)
    return taught(config, range(40)), config


@pytest.fixture(scope="module")
def history(before: tuple[Learner, Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What that learner published."""
    return published(*before, tmp_path_factory.mktemp("history"))


def of(learner: Learner) -> Updater:
    assert isinstance(learner.updater, Updater)
    return learner.updater


def said(learner: Learner) -> torch.Tensor:
    updater = of(learner)
    return updater.log_probabilities(updater.encode(TEXTS))


def test_it_predicts_with_the_bits_of_the_one_that_published_and_every_expert_goes_on(
    before: tuple[Learner, Config], history: Path
) -> None:
    warm, (old, _) = Learner(configured(history)), before
    assert torch.equal(said(warm), said(old))
    assert list(of(warm).labels) == ["label-0", "label-1", "label-2"]
    mine, theirs = warm.updater.state(), old.updater.state()
    anew = {"model", "encoding", "transformer"}  # of the transformer: the optimiser and what dropout draws from
    assert flat({k: v for k, v in mine.items() if k not in anew}) == flat(
        {k: v for k, v in theirs.items() if k not in anew}
    )
    assert flat(mine["transformer"]["weights"]) == flat(theirs["transformer"]["weights"])
    assert mine["transformer"]["optimizer"]["steps"] == 0
    assert warm.updater.warm_from == old.step
    assert (warm.step, warm.positions, len(warm.buffer)) == (0, {}, 0)


def test_what_goes_on_from_it_survives_a_restart_and_is_published_with_the_same_bits(
    history: Path, tmp_path: Path
) -> None:
    config = configured(history)
    warm = taught(config, range(60, 80))
    again = Learner(config)
    again.load(warm.state())
    more = [make_event(n) for n in range(80, 84)]
    learn(warm, admitted(warm, *more))
    learn(again, admitted(again, *more))
    assert flat(warm.state()) == flat(again.state())
    path = published(warm, config, tmp_path)
    probabilities = streamlearn.load(path).predict([event.text for event in TEXTS])[1]
    assert probabilities.tolist() == said(warm).exp().float().tolist()
    assert SnapshotStore(tmp_path / "snapshots").manifest(1)["warm_from"] == 10


@pytest.mark.parametrize("tier", ["tokens", "frozen"])
def test_a_smaller_tier_goes_on_with_its_experts_and_their_features(
    before: tuple[Learner, Config], history: Path, tier: str
) -> None:
    warm = Learner(configured(history, f"updater.experts={tier}"))
    mine, theirs = warm.updater.state(), before[0].updater.state()
    assert len(of(warm).experts) in (6, 11)
    for expert in of(warm).experts:
        assert flat(mine[expert]) == flat(theirs[expert])
    encoded = of(warm)._encoded(warm.updater.encode(TEXTS))
    original = of(before[0])._encoded(before[0].updater.encode(TEXTS))
    assert of(warm).mixture._extract(encoded)
    assert of(before[0]).mixture._extract(original)
    for kind, vectors in encoded.embeddings.items():
        assert vectors.tolist() == original.embeddings[kind].tolist()


def test_a_label_that_a_closed_list_adds_is_grown_and_where_one_is_missing_the_model_begins_alone(
    history: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = Learner(configured(history, "events.labels=[label-9, label-2, label-1, label-0]"))
    assert list(of(more).labels) == ["label-0", "label-1", "label-2", "label-9"]
    assert said(more).shape == (len(TEXTS), 4)
    assert said(more).argmax(-1).max() < 3
    with caplog.at_level(logging.WARNING):
        fewer = Learner(configured(history, "events.labels=[label-0, label-1]"))
    assert fewer.updater.warm_from is None
    assert "the mixture in" in caplog.text
    assert "are not all among events.labels" in caplog.text


def test_labels_keep_their_type_and_a_stream_with_another_one_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    config = configured(tiny_model, "updater.experts=[naive_bayes, softmax]")
    path = published(taught(config, range(24), lambda n: make_event(n, label=n % 2)), config, tmp_path)
    warm = Learner(config.model_copy(update={"updater": config.updater.model_copy(update={"model": str(path)})}))
    assert list(of(warm).labels) == [0, 1]
    assert warm.draft().admit(make_event(3, label="label-3")) is Reason.LABEL_TYPE


def test_a_model_that_has_its_transformer_alone_begins_as_before(tiny_model: Path, tmp_path: Path) -> None:
    config = configured(tiny_model, "updater.experts=[transformer]")
    path = published(taught(config, range(16)), config, tmp_path)
    assert Learner(configured(path)).updater.warm_from is None


def test_what_cannot_be_gone_on_with_is_one_sentence(history: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"updater.trains is 'head', but more than that .* set updater.trains"):
        Learner(configured(history, "updater.trains=head"))
    tokens = published(*of_one_expert(tiny_model, "softmax"), tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"none of updater.experts is in the mixture in '.*' \(there: softmax\)"
    ):
        Learner(configured(tokens, "updater.experts=[naive_bayes]"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in history.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    flip(damaged / "experts.safetensors")
    with pytest.raises(ConfigurationError, match=r"cannot load the mixture in .*experts.safetensors is not what was"):
        Learner(configured(damaged))


def test_a_batch_of_the_stream_is_predicted_by_what_was_learnt_before(history: Path) -> None:
    warm = Learner(configured(history, "events.holdout_ratio=0"))
    events = [make_event(number) for number in range(20, 24)]
    batch = MicroBatch(
        fresh=events, records=[make_record(b"", offset=e.offset) for e in events], positions={("t", 0): 24}
    )
    result = learn(warm, batch).result
    assert result
    assert None not in result.predicted
