"""What was published, loaded and used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import streamlearn
from streamlearn.errors import StateError, UnpredictableError
from streamlearn.local.tiny import SPECIAL, WORDS
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.state import Export
from streamlearn.updater import Updater, published
from tests.unit.builders import make_event
from tests.unit.conftest import MakeConfig
from tests.unit.kept import flip

TEXTS = ["late refund please", "moon", "goal " * 20, "engine clutch wheel slow"]


@pytest.fixture
def updater(make_config: MakeConfig) -> Updater:
    updater = Updater(make_config("events.labels=[ham, spam]", "updater.learning_rate=1e-2"))
    for number in range(5):
        labelled = [make_event(4 * number + n, label=("ham", "spam")[n % 2]) for n in range(4)]
        updater.step(updater.encode(labelled))
    return updater


@pytest.fixture
def alone(updater: Updater) -> Export:
    """What an earlier version exported: the transformer alone."""
    export = published.export(updater, updater.state())
    return Export(export.config, export.weights, export.tokenizer, columns=export.columns)


@pytest.fixture
def state(alone: Export, tmp_path: Path) -> Path:
    """A state directory with two snapshots of an earlier version."""
    store = SnapshotStore(tmp_path / "state" / "snapshots")
    for version in (1, 2):
        store.write(version, version, alone, {})
    return tmp_path / "state"


def test_a_snapshot_of_an_earlier_version_predicts_what_its_transformer_does(state: Path) -> None:
    predictor = streamlearn.load(state)
    assert (predictor.version, predictor.predictor, predictor.labels) == (2, "transformer", ["ham", "spam"])
    labels, probabilities = predictor.predict(TEXTS)
    assert (probabilities.shape, probabilities.dtype) == ((4, 2), np.float32)
    classify = transformers.pipeline("text-classification", model=str(state / "snapshots" / "latest"))
    found = classify(TEXTS, truncation=True)
    assert labels == [one["label"] for one in found]
    assert probabilities.max(-1).tolist() == pytest.approx([one["score"] for one in found], abs=1e-6)


def test_a_snapshot_is_found_by_its_own_path_by_that_of_all_and_by_the_learners_directory(state: Path) -> None:
    snapshots = state / "snapshots"
    for path in (state, str(state), snapshots, snapshots / "latest"):
        assert streamlearn.load(path).version == 2
    assert streamlearn.load(snapshots / "v00000001").version == 1


def test_a_directory_that_nobody_here_has_written_needs_no_manifest(state: Path) -> None:
    path = state / "snapshots" / "v00000001"
    (path / "streamlearn.json").unlink()
    predictor = streamlearn.load(path)
    assert (predictor.version, predictor.predictor) == (None, "transformer")
    assert predictor.predict(TEXTS)[0] == streamlearn.load(state).predict(TEXTS)[0]


def test_no_texts_have_no_labels(state: Path) -> None:
    labels, probabilities = streamlearn.load(state).predict([])
    assert (labels, probabilities.shape, probabilities.dtype) == ([], (0, 2), np.float32)


def test_many_texts_come_in_their_order(state: Path) -> None:
    predictor = streamlearn.load(state)
    labels, probabilities = predictor.predict(TEXTS[number % 4] for number in range(301))
    assert labels[:4] * 75 == labels[:300]
    np.testing.assert_allclose(probabilities, np.tile(probabilities[:4], (76, 1))[:301], atol=1e-6)


def test_a_text_that_is_not_in_a_list_is_told_to_be_put_into_one(state: Path) -> None:
    predictor = streamlearn.load(state)
    with pytest.raises(TypeError, match="put it into a list"):
        predictor.predict("late again")
    with pytest.raises(TypeError, match="the text at index 1 is of type NoneType, not str"):
        predictor.predict(["late", None])  # type: ignore[list-item]


def test_a_text_without_probabilities_is_named_by_its_index(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = streamlearn.load(state)
    overflow_at(monkeypatch, "moon")
    with pytest.raises(ValueError, match="the text at index 1 cannot be labelled") as caught:
        predictor.predict(TEXTS)
    assert isinstance(caught.value, UnpredictableError)


def overflow_at(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Let every BERT overflow at texts with `word`, as a model in half precision does."""
    forward = transformers.BertForSequenceClassification.forward
    token = [*SPECIAL, *WORDS].index(word)

    def overflowing(model: torch.nn.Module, **inputs: torch.Tensor) -> object:
        output = forward(model, **inputs)
        output.logits[(inputs["input_ids"] == token).any(-1)] = float("inf")
        return output

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", overflowing)


def test_where_there_is_no_snapshot_that_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StateError, match="there is no snapshot at "):
            streamlearn.load(path)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "streamlearn.json"])
def test_a_file_that_is_not_what_was_written_is_named(state: Path, file: str) -> None:
    flip(state / "snapshots" / "v00000002" / file)
    with pytest.raises(StateError, match=file.replace(".", r"\.")):
        streamlearn.load(state)
    assert streamlearn.load(state / "snapshots" / "v00000001").version == 1


def test_predict_on_the_command_line_prints_what_load_gives(state: Path) -> None:
    command = [sys.executable, "-m", "streamlearn", "predict", "--json", "--snapshot", f"{state}/snapshots/latest"]
    texts = [*TEXTS] * 9  # more than go together
    done = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, timeout=120, check=True)
    labels, probabilities = streamlearn.load(state).predict(texts)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["label"] for one in found] == labels
    assert [one["score"] for one in found] == pytest.approx(probabilities.max(-1).tolist(), abs=1e-6)
