"""What was published, loaded and used."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import streamlearn
from streamlearn.capture import capture_snapshot
from streamlearn.config import Config
from streamlearn.errors import StateError, UnpredictableError
from streamlearn.learner import Learner
from streamlearn.local.tiny import SPECIAL, WORDS
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.reports import MicroBatch
from streamlearn.state import Export
from streamlearn.updater import Updater
from streamlearn.updater.published import export
from tests.unit.builders import learn, make_event, make_record
from tests.unit.conftest import MakeConfig
from tests.unit.kept import flip, sealed

MET_LATER = 30  # steps before the third label
TEXTS = ["late refund please", "moon", "goal " * 20, "engine clutch wheel slow"]


@pytest.fixture
def updater(make_config: MakeConfig) -> Updater:
    as_before = ["updater.experts=[transformer]", "updater.pooling=native"]
    updater = Updater(make_config("events.labels=[ham, spam]", "updater.learning_rate=1e-2", *as_before))
    for number in range(5):
        labelled = [make_event(4 * number + n, label=("ham", "spam")[n % 2]) for n in range(4)]
        updater.step(updater.encode(labelled))
    return updater


@pytest.fixture
def alone(updater: Updater) -> Export:
    """What an earlier version exported: the transformer alone."""
    return replace(export(updater, updater.state()), mixture={}, settings={})


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


def test_experts_without_the_manifest_that_says_what_they_are_are_refused(state: Path) -> None:
    path = state / "snapshots" / "v00000001"
    (path / "streamlearn.json").unlink()
    (path / "experts.safetensors").touch()
    with pytest.raises(StateError, match=r"it has experts\.safetensors, but no streamlearn\.json"):
        streamlearn.load(path)


@pytest.mark.parametrize(("text", "why"), [("", "it is empty"), (" \n", "it is empty"), ("a\ud800", "surrogate pair")])
def test_what_is_no_text_is_refused_by_its_index_and_for_what_it_is(state: Path, text: str, why: str) -> None:
    with pytest.raises(UnpredictableError, match=f"the text at index 1 cannot be labelled: .*{why}"):
        streamlearn.load(state).predict([TEXTS[0], text])


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


TIERS = {
    "tokens": ["updater.experts=tokens"],
    "frozen": ["updater.experts=frozen"],
    "tuned": ["updater.experts=tuned", "updater.pooling=mean", "updater.trains=last-1"],
    "adapters tuned": ["updater.experts=tuned", "updater.pooling=mean", "updater.trains=lora"],
    "biases tuned": ["updater.experts=tuned", "updater.pooling=mean", "updater.trains=bias"],
    "all of it tuned": ["updater.experts=tuned", "updater.trains=all"],
}


@pytest.fixture(params=TIERS.values(), ids=TIERS)
def learner(request: pytest.FixtureRequest, make_config: MakeConfig) -> Learner:
    """A learner of forty steps, the last of which have brought another label."""
    learner = Learner(make_config(*request.param, "updater.learning_rate=1e-3"))
    for number in range(40):
        learn(learner, micro_batch(number, labels=2 if number < MET_LATER else 3))
    return learner


def micro_batch(number: int, *, labels: int) -> MicroBatch:
    fresh = [make_event(4 * number + index, label=f"label-{(number + index) % labels}") for index in range(4)]
    held_out = [make_event(1000 + number)]
    return MicroBatch(fresh=fresh, records=[make_record(b"")] * 4, held_out=held_out, positions={("t", 0): number})


def publish(learner: Learner, config: Config, directory: Path) -> Path:
    """Publish `learner` as a snapshot below `directory`, and return its path."""
    candidate = capture_snapshot(learner, config, version=1)
    assert candidate.export
    assert SnapshotStore.misnamed(candidate.export) is None
    return SnapshotStore(directory).write(1, learner.step, candidate.export, candidate.provenance)


def own(learner: Learner) -> torch.Tensor:
    events = [make_event(0, text=text) for text in TEXTS]
    return learner.updater.log_probabilities(learner.updater.encode(events))


def test_what_is_published_predicts_with_the_learners_own_bits(
    learner: Learner, make_config: MakeConfig, tmp_path: Path
) -> None:
    expected = own(learner)
    predictor = streamlearn.load(publish(learner, make_config(), tmp_path))
    assert (predictor.version, predictor.predictor) == (1, "mixture")
    assert predictor.labels == list(learner.updater.labels) == ["label-0", "label-1", "label-2"]
    labels, probabilities = predictor.predict(TEXTS)
    assert probabilities.tobytes() == expected.exp().float().numpy().tobytes()
    assert labels == [predictor.labels[column] for column in expected.argmax(-1)]
    assert own(learner).numpy().tobytes() == expected.numpy().tobytes()  # of which loading has moved nothing


def test_transformers_loads_a_mean_pooled_snapshot_once_its_class_has_been_imported_from_here(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    learner = Learner(make_config("updater.experts=tuned", "updater.pooling=mean"))
    learn(learner, micro_batch(0, labels=2))
    path = publish(learner, make_config(), tmp_path)
    loading = f"import transformers; transformers.AutoModelForSequenceClassification.from_pretrained({str(path)!r})"
    for before, code in (
        ("import streamlearn; ", 1),
        ("from streamlearn import MeanPooledForSequenceClassification; ", 0),
    ):
        command = [sys.executable, "-c", before + loading]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr
        assert ("does not recognize this architecture" in done.stderr) == bool(code)


@pytest.mark.parametrize("labels", [[0, 1, 7], ["a", 7, "b"], ["only"], ["two\nlines", "a\tb"]])
def test_labels_come_back_as_they_were_learnt(make_config: MakeConfig, labels: list[str | int], tmp_path: Path) -> None:
    learner = Learner(make_config("updater.experts=[naive_bayes]"))
    fresh = [make_event(number, label=label) for number, label in enumerate(labels)]
    learn(learner, MicroBatch(fresh=fresh, records=[make_record(b"")] * len(fresh), positions={("t", 0): 1}))
    predictor = streamlearn.load(publish(learner, make_config(), tmp_path))
    assert predictor.labels == labels
    assert set(predictor.predict(TEXTS)[0]) <= set(labels)


def test_what_a_manifest_grants_itself_lets_no_code_run(make_config: MakeConfig, tmp_path: Path) -> None:
    learner = Learner(make_config("updater.experts=[naive_bayes]"))
    learn(learner, micro_batch(0, labels=2))
    path, mark = publish(learner, make_config(), tmp_path / "snapshots"), tmp_path / "mark"
    (path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((path / "config.json").read_text()) | {"auto_map": {"AutoConfig": "evil.Evil"}}
    (path / "config.json").write_text(json.dumps(config))
    digests = {name: sha256((path / name).read_bytes()).hexdigest() for name in ("evil.py", "config.json")}
    manifest = json.loads((path / "streamlearn.json").read_text())
    settings = manifest["settings"] | {"trust_remote_code": True}
    sealed(path / "streamlearn.json", files=manifest["files"] | digests, sizes={}, settings=settings)
    with pytest.raises(StateError, match=r"asks for code of its own \('auto_map'\)"):
        streamlearn.load(path)
    assert not mark.exists()


def test_a_mixture_that_does_not_fit_is_one_sentence(make_config: MakeConfig, tmp_path: Path) -> None:
    learner = Learner(make_config("updater.experts=[naive_bayes, softmax]"))
    learn(learner, micro_batch(0, labels=2))
    candidate = capture_snapshot(learner, make_config(), version=1)
    assert candidate.export
    for version, mixture in enumerate(({"labels": ["a"]}, candidate.export.mixture | {"naive_bayes": {}}), 1):
        path = SnapshotStore(tmp_path).write(version, 1, replace(candidate.export, mixture=mixture), {})
        with pytest.raises(StateError, match=f"the snapshot {path} cannot be loaded: ") as caught:
            streamlearn.load(path)
        assert "\n" not in str(caught.value)
