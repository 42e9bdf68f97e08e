"""A label is its value: in the head that a model brings, in the stream, and in what is published."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

import streamlearn
from streamlearn.capture import capture_snapshot
from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.commands.predict import predict
from streamlearn.config import Config, load
from streamlearn.errors import StateError
from streamlearn.learner import Learner
from streamlearn.monitor.monitor import Monitor
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.updater import Updater
from streamlearn.updater.labels import LabelMap
from streamlearn.updater.published import export as export_of
from tests import zoo
from tests.unit.builders import flat, learn, make_event
from tests.unit.test_learner import admitted

HEAD = "classifier.weight"


def updater(model: Path, labels: list[str] | list[int] | None = None) -> Updater:
    closed = [] if labels is None else [f"events.labels={json.dumps(labels)}"]
    return Updater(load(overrides=[f"updater.model={model}", "updater.max_tokens=32", *closed]))


def with_head(directory: Path, names: list[str]) -> Path:
    """Return a model that was trained to tell `names` apart: row n of its head is full of n."""
    numbered = {str(column): name for column, name in enumerate(names)}
    zoo.save("bert", directory, id2label=numbered, label2id={name: int(column) for column, name in numbered.items()})
    weights = load_file(directory / "model.safetensors")
    weights[HEAD] = torch.arange(float(len(names)))[:, None].expand(-1, 32).contiguous()
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def rows(learner: Updater) -> torch.Tensor:
    weights: torch.Tensor = learner.state()["transformer"]["weights"][HEAD]
    return weights


def published(learner: Updater) -> list[str]:
    export = export_of(learner, learner.state())
    assert SnapshotStore.misnamed(export) is None
    return [export.config.id2label[column] for column in range(export.columns)]


def test_a_head_is_taken_over_by_the_exact_names_of_its_labels_whatever_their_order(tmp_path: Path) -> None:
    learner = updater(
        with_head(tmp_path, ["billing", "delivery", "product"]), ["product", "other", "billing", "delivery"]
    )
    assert list(learner.labels) == published(learner) == ["billing", "delivery", "product", "other"]
    assert rows(learner)[:3, 0].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "labels", [["Product", "Billing", "Delivery"], ["billing ", "delivery", "product"], ["a", "b", "c"]]
)
def test_a_head_with_other_labels_is_drawn_anew_and_the_log_says_so(
    tmp_path: Path, labels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    learner = updater(with_head(tmp_path, ["billing", "delivery", "product"]), labels)
    assert list(learner.labels) == published(learner) == labels
    assert rows(learner).abs().max() < 0.2
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line == (
        "updater.model: the head is new, because the labels of its own (billing, delivery, product) "
        "are not all among events.labels"
    )


def test_a_head_with_placeholders_for_names_is_drawn_anew(tmp_path: Path) -> None:
    learner = updater(with_head(tmp_path, ["LABEL_0", "LABEL_1"]), ["ham", "spam"])
    assert rows(learner).abs().max() < 0.2
    assert published(learner) == ["ham", "spam"]


def test_a_head_that_is_named_but_not_in_the_file_is_new(tmp_path: Path) -> None:
    model = with_head(tmp_path, ["ham", "spam"])
    weights = {
        name: value for name, value in load_file(model / "model.safetensors").items() if "classifier" not in name
    }
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    assert list(updater(model).labels) == []


def test_integer_labels_are_the_columns_that_have_their_names(tmp_path: Path) -> None:
    model = with_head(tmp_path, ["0", "1"])
    closed = updater(model, [1, 0])
    assert list(closed.labels) == [0, 1]
    discovering = updater(model)
    result = discovering.step(
        discovering.encode([make_event(1, label=1), make_event(2, label=0), make_event(3, label=7)])
    )
    assert result.applied
    assert list(discovering.labels) == [0, 1, 7]
    assert published(discovering) == ["0", "1", "7"]
    assert set(discovering.predict(discovering.encode([make_event(4)]))) <= {0, 1, 7}


def test_string_labels_stay_strings_where_a_head_names_numbers(tmp_path: Path) -> None:
    learner = updater(with_head(tmp_path, ["0", "1"]))
    learner.step(learner.encode([make_event(1, label="1"), make_event(2, label="01")]))
    assert list(learner.labels) == ["0", "1", "01"]


def test_what_was_learnt_of_integer_labels_is_loaded_by_a_learner_that_has_seen_none_yet(tmp_path: Path) -> None:
    model = with_head(tmp_path, ["0", "1"])
    first, second = updater(model), updater(model)
    first.step(first.encode([make_event(1, label=1), make_event(2, label=2)]))
    second.load(first.state())
    assert list(second.labels) == [0, 1, 2]
    assert torch.equal(rows(second), rows(first))


def test_a_state_with_two_columns_for_one_label_is_refused(tmp_path: Path) -> None:
    learner = updater(with_head(tmp_path, ["0", "1"]))
    with pytest.raises(StateError, match="two columns for one label"):
        learner.load(learner.state() | {"labels": ["0", "1", 0, 1]})


def test_a_label_of_a_head_that_no_utf_8_holds_is_in_all_that_is_kept_published_and_shown(tmp_path: Path) -> None:
    half, settings = "half \ud800", ["updater.max_tokens=32", "updater.experts=[transformer]", "monitor.port=0"]
    config = load(overrides=[f"updater.model={with_head(tmp_path / 'model', [half, 'ham'])}", *settings])
    learner, monitor = Learner(config), Monitor(config)
    monitor.activated(True)
    report = learn(learner, admitted(learner, *map(make_event, range(4))))
    assert report.result
    assert half in report.result.predicted
    monitor.stepped(learner.standing(), report, 0.1)
    checkpoints = CheckpointStore(tmp_path / "checkpoints", keep=1)
    name = checkpoints.write(1, 0, learner.state(), monitor.history()).name
    again, after = Learner(config), Monitor(config)
    again.load(checkpoints.read(name))
    after.restored(again.standing(), None, checkpoints.history(name))
    shown = after.live.view()["predictions"]
    assert shown == monitor.live.view()["predictions"]
    assert r"half \ud800" in [row["label"] for row in shown["rows"]]
    assert flat(again.state()) == flat(learner.state())
    capture = capture_snapshot(learner, config, version=1)
    assert capture.export
    path = SnapshotStore(tmp_path / "snapshots").write(1, 1, capture.export, capture.provenance)
    assert streamlearn.load(path).labels[0] == half


def test_a_closed_list_of_labels_holds_none_that_no_event_can_have() -> None:
    with pytest.raises(ValidationError, match="half of a surrogate pair"):
        Config.model_validate({"events": {"labels": ["half \ud800", "ham"]}})


@pytest.mark.parametrize("names", [["twice", "twice"], ["one"], ["one", "two", "three"]])
def test_a_head_whose_columns_have_no_names_of_their_own_is_not_published(tmp_path: Path, names: list[str]) -> None:
    learner = updater(zoo.save("bert", tmp_path), ["one", "two"])
    export = export_of(learner, learner.state())
    export.config.id2label = dict(enumerate(names))
    assert "its head has 2 columns" in str(SnapshotStore.misnamed(export))
    assert SnapshotStore.misnamed(replace(export, columns=0)) is None


@pytest.mark.parametrize("labels", [["only"], ["ham", "spam"], ["a", "b", "c"]])
def test_what_the_source_model_classified_is_not_passed_on(tmp_path: Path, labels: list[str]) -> None:
    model = zoo.save("bert", tmp_path / "model", problem_type="multi_label_classification")
    learner = updater(model, labels)
    path = SnapshotStore(tmp_path).write(1, 1, export_of(learner, learner.state()), {})
    saved = json.loads((path / "config.json").read_bytes())
    assert saved.get("problem_type") == ("single_label_classification" if len(labels) > 1 else None)
    (found,) = predict(path, ["late again"])
    assert found.label in labels
    if len(labels) > 1:
        classify = transformers.pipeline("text-classification", model=str(path), top_k=None)
        assert sum(score["score"] for score in classify(["late again"])[0]) == pytest.approx(1.0)


def test_a_source_model_of_single_labels_may_become_one_of_one_label(tmp_path: Path) -> None:
    model = zoo.save("bert", tmp_path, problem_type="single_label_classification")
    assert published(updater(model, ["only"])) == ["only"]


def test_labels_that_look_alike_are_different_ones() -> None:
    names = ["spam", "Spam", "spam ", "cafe\u0301", "caf\u00e9", "True", "LABEL_3", "x" * 500]
    labels = LabelMap(names)
    assert [labels.index(name) for name in names] == list(range(len(names)))
    assert labels.names() == names
