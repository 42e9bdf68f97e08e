"""The library, with the tiny model: what it promises to those who know river and scikit-learn."""

from __future__ import annotations

import doctest
import inspect
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlearn
import streamlearn.online
from streamlearn import OnlineClassifier
from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError, StateError
from tests.conftest import OVERFLOWING
from tests.unit.builders import flat

TEXTS = ["launch orbit moon", "engine clutch wheel", "cipher key chip", "goal puck team"]
LABELS = ["space", "car", "crypto", "hockey"]
WELL, ILL = "engine clutch wheel", f"moon {OVERFLOWING}"


@pytest.fixture
def classifier(tiny_model: Path) -> OnlineClassifier:
    return OnlineClassifier(tiny_model, micro_batch=3, experts="tokens")


def taught(model: Path, *, rounds: int = 3, **settings: Any) -> OnlineClassifier:
    two = {"experts": ["naive_bayes", "transformer"], "micro_batch": 3, "learning_rate": 1e-3}
    classifier = OnlineClassifier(model, **(two | settings))
    for _ in range(rounds):
        classifier.learn_many(TEXTS, LABELS)
    return classifier


def test_the_examples_in_its_docstring_are_true(tiny_model: Path) -> None:
    finder = doctest.DocTestFinder(recurse=False)
    (examples,) = finder.find(OnlineClassifier, "OnlineClassifier", globs={"model": tiny_model})
    failed, tried = doctest.DocTestRunner().run(examples)
    assert tried > 5
    assert failed == 0


def test_the_package_loads_it_only_when_it_is_asked_for() -> None:
    code = (
        "import sys, streamlearn; print('torch' in sys.modules); "
        "print(streamlearn.OnlineClassifier.__name__, 'kafka' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "OnlineClassifier", "False"]
    with pytest.raises(AttributeError, match="no attribute 'OnlineClasifier'"):
        streamlearn.OnlineClasifier  # noqa: B018


def test_its_model_is_by_default_that_of_the_configuration() -> None:
    assert inspect.signature(OnlineClassifier).parameters["model"].default == Updater().model


def test_before_any_label_nothing_is_predicted(classifier: OnlineClassifier) -> None:
    assert classifier.predict_one("slow moon") is None
    assert classifier.predict_proba_one("slow moon") == {}
    assert classifier.predict_many(TEXTS) == [None] * 4
    assert classifier.labels == []
    assert math.isnan(classifier.accuracy)


def test_labels_that_are_given_are_predicted_before_they_are_met(tiny_model: Path) -> None:
    classifier = OnlineClassifier(tiny_model, labels=LABELS)
    assert classifier.predict_one("slow moon") in LABELS
    assert list(classifier.predict_proba_one("slow moon")) == LABELS


def test_what_was_learnt_is_known_and_probabilities_add_up_to_one(tiny_model: Path) -> None:
    classifier = taught(tiny_model, rounds=20)
    assert classifier.predict_many(TEXTS) == LABELS
    assert [classifier.predict_one(text) for text in TEXTS] == LABELS
    for row in classifier.predict_proba_many(TEXTS):
        assert list(row) == LABELS
        assert sum(row.values()) == pytest.approx(1.0)
    assert classifier.accuracy > 0.3


def test_learning_one_is_a_step_and_learning_many_a_step_for_each_micro_batch(classifier: OnlineClassifier) -> None:
    classifier.learn_one(TEXTS[0], LABELS[0])
    assert classifier.learner.step == 1
    classifier.learn_many(TEXTS, LABELS)
    assert classifier.learner.step == 3
    classifier.learn_many([], [])
    assert classifier.learner.step == 3
    assert len(classifier.learner.buffer) == 5  # the first text twice: none is a repetition


def test_what_is_predicted_in_the_step_is_what_would_have_been_predicted_before_it(tiny_model: Path) -> None:
    one, other = taught(tiny_model), taught(tiny_model)
    texts, labels = [*TEXTS, "fast car"], [*LABELS, "vehicle"]
    expected = []
    for first in (0, 3):
        expected += one.predict_many(texts[first : first + 3])
        one.learn_many(texts[first : first + 3], labels[first : first + 3])
    assert other.predict_then_learn(texts, labels) == expected
    assert flat(other.learner.state()) == flat(one.learner.state())
    assert OnlineClassifier(tiny_model).predict_then_learn(texts[:1], labels[:1]) == [None]


def test_predicting_changes_nothing_that_is_learnt_later(tiny_model: Path) -> None:
    quiet, asked = taught(tiny_model, dropout=0.1), taught(tiny_model, dropout=0.1)
    for _ in range(2):
        asked.predict_many(["a text that is far longer", *TEXTS])
        for classifier in (quiet, asked):
            classifier.learn_many(TEXTS, LABELS)
    assert flat(asked.learner.state()) == flat(quiet.learner.state())


def test_a_saved_classifier_goes_on_with_the_same_bits(tiny_model: Path, tmp_path: Path) -> None:
    unbroken = taught(tiny_model, experts="tuned", dropout=0.1)
    unbroken.save(tmp_path / "mine")
    loaded = OnlineClassifier.load(tmp_path / "mine")
    assert loaded.config == unbroken.config
    assert loaded.predict_proba_many(TEXTS) == unbroken.predict_proba_many(TEXTS)
    for classifier in (unbroken, loaded):
        classifier.learn_many(["fast car", *TEXTS], ["car", *LABELS])
        classifier.learn_one("law peace", "talk")
    assert flat(loaded.learner.state()) == flat(unbroken.learner.state())


def test_what_is_saved_last_counts_whatever_was_there(tiny_model: Path, tmp_path: Path) -> None:
    taught(tiny_model, rounds=3).save(tmp_path)
    taught(tiny_model, rounds=1, labels=LABELS).save(tmp_path)
    loaded = OnlineClassifier.load(tmp_path)
    assert loaded.learner.step == 2
    assert loaded.config.events.labels == LABELS
    assert len(list((tmp_path / "saved").iterdir())) == 1


def test_what_cannot_be_loaded_is_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no classifier is saved in"):
        OnlineClassifier.load(tmp_path / "nothing")
    taught(tiny_model, rounds=1).save(tmp_path)
    (tensors,) = tmp_path.rglob("tensors.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(StateError, match=r"tensors\.safetensors is not what was written"):
        OnlineClassifier.load(tmp_path)


def test_integer_labels_of_any_library_come_back_as_integers(classifier: OnlineClassifier) -> None:
    classifier.learn_many(np.asarray(TEXTS), np.asarray([3, 1, 2, 3]))
    assert classifier.labels == [3, 1, 2]
    assert type(classifier.predict_one(TEXTS[0])) is int


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        ("a text", ["a"], "texts must be a list, and is of type str"),
        (["a text"], "a", "labels must be a list, and is of type str"),
        (["a", "b"], ["a"], "there are 2 texts and 1 labels"),
        (["fine", None], ["a", "a"], r"texts\[1\] must be a string, and is of type NoneType"),
        (["fine", " \n"], ["a", "a"], r"texts\[1\] is empty"),
        (["fine", "half \ud800"], ["a", "a"], r"texts\[1\] holds half of a surrogate pair"),
        (["fine", "fine"], ["a", True], r"labels\[1\] must be a string or an integer, and is of type bool"),
        (["fine", "fine"], ["a", 1.0], r"labels\[1\] must be a string or an integer, and is of type float"),
        (["fine", "fine"], ["a", ""], r"labels\[1\] is empty"),
        (["fine", "fine"], ["a", "x" * 513], r"labels\[1\] has 513 characters, and may have 512"),
        (["fine"], [2**63], r"labels\[0\] does not fit into 64 bits"),
        (["fine", "fine"], ["a", 1], "labels are either all strings or all integers, and 1 is another kind"),
    ],
)
def test_what_is_no_text_or_label_is_one_sentence_and_nothing_is_learnt(
    classifier: OnlineClassifier, texts: Any, labels: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        classifier.learn_many(texts, labels)
    assert classifier.learner.step == 0
    assert classifier.labels == []


def test_a_label_of_another_kind_or_beyond_a_closed_list_is_refused(tiny_model: Path) -> None:
    classifier = taught(tiny_model, rounds=1)
    with pytest.raises(ValueError, match="all strings or all integers"):
        classifier.learn_one("fine", 1)
    with pytest.raises(ValueError, match="labels must be a list, and is of type str"):
        OnlineClassifier(tiny_model, labels="ab")
    closed = OnlineClassifier(tiny_model, labels=["a", "b"])
    with pytest.raises(ValueError, match="the label 'c' is not one of 'a', 'b'"):
        closed.learn_one("fine", "c")
    with pytest.raises(ValueError, match="the text is empty"):
        closed.predict_one("")


def test_a_text_that_the_model_refuses_is_named_and_nothing_else_is_lost(overflowing_model: Path) -> None:
    classifier = OnlineClassifier(overflowing_model, micro_batch=3)
    classifier.learn_one(WELL, "car")
    before = flat(classifier.learner.updater.state())
    with pytest.raises(ValueError, match=r"^nothing can be learnt of the text \(not_finite\)$"):
        classifier.learn_one(ILL, "ill")
    assert flat(classifier.learner.updater.state()) == before
    with pytest.raises(ValueError, match=r"of texts\[1\] \(not_finite\); the other 3 are learnt$"):
        classifier.learn_many([WELL, ILL, "cipher key", "goal puck"], ["car", "ill", "crypto", "hockey"])
    assert classifier.labels == ["car", "crypto", "hockey"]
    assert len(classifier.learner.buffer) == 4
    assert classifier.predict_one(WELL) in classifier.labels
    assert classifier.predict_one(ILL) in classifier.labels  # by the experts that the model's embedding does not reach


def test_a_text_of_which_the_only_expert_says_nothing_cannot_be_predicted(overflowing_model: Path) -> None:
    classifier = OnlineClassifier(overflowing_model, experts=["transformer"])
    classifier.learn_one(WELL, "car")
    with pytest.raises(ValueError, match="cannot be predicted: its probabilities are not finite"):
        classifier.predict_many([WELL, ILL])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rat": 1.0}, "unknown key 'updater.learning_rat'; did you mean 'learning_rate'?"),
        ({"micro_batch": 0}, "updater.micro_batch: "),
        ({"buffer_records": 0}, "buffer.records: "),
        ({"labels": []}, "events.labels: a closed list needs at least one label"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_sentence(tiny_model: Path, settings: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{said.replace('?', chr(92) + '?')}"):
        OnlineClassifier(tiny_model, **settings)
