"""What every expert keeps to, whatever it learns by."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamlearn.updater.experts.expert import Expert, Gradients
from streamlearn.updater.experts.registry import chosen
from streamlearn.updater.experts.transformer.averaged import AveragedTransformer
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.expert import TransformerExpert
from streamlearn.updater.features import Encoded
from tests.conftest import WORDS
from tests.unit.conftest import MakeConfig
from tests.unit.test_learner import flat

ONLINE: list[type[Any]] = list(chosen("frozen"))
TUNED = [TransformerExpert, AveragedTransformer]
LABELS = ["label-0", "label-1", "label-2"]
TELLING = [WORDS[0:2], WORDS[2:4], WORDS[4:6]]

Make = Callable[[Sequence[str]], Expert]


@pytest.fixture
def backbone(make_config: MakeConfig) -> Backbone:
    return Backbone(make_config().updater, [], tuned=False)


@pytest.fixture(params=[TransformerExpert, *ONLINE], ids=lambda kind: kind.name)
def make(request: pytest.FixtureRequest, make_config: MakeConfig) -> Make:
    config = make_config("updater.warmup_steps=0", "updater.learning_rate=1e-2").updater

    def made(labels: Sequence[str]) -> Expert:
        if request.param not in TUNED:
            expert: Expert = request.param(config, list(labels))
            return expert
        backbone = Backbone(config, list(labels))
        assert backbone.frozen
        expert = request.param(config, list(labels), backbone)
        return expert  # noqa: RET504 - it has a type

    return made


@pytest.fixture
def read(backbone: Backbone) -> Callable[[Sequence[str]], Encoded]:
    extractor = backbone.extractor(frozenset({"ngrams", "static", "frozen", "middle"}))

    def read(texts: Sequence[str]) -> Encoded:
        encoded = Encoded(backbone.encode(texts) if texts else [])
        extractor.add(encoded, in_a_row=True)
        extractor.take_in(encoded)
        return encoded

    return read


def texts(numbers: Sequence[int]) -> list[str]:
    """Return a text for each number, which tells its label, the remainder by 3, and says other things beside."""
    return [" ".join([*TELLING[n % 3], WORDS[n % len(WORDS)], WORDS[7 * n % len(WORDS)]]) for n in numbers]


def learn(expert: Expert, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None) -> Tensor:
    found = expert.gradients(encoded, targets, weights)
    assert isinstance(found, Gradients)
    expert.apply(found)
    return found.log_probabilities


def test_it_predicts_before_it_learns_and_moves_nothing_until_then(
    make: Make, read: Callable[[Sequence[str]], Encoded]
) -> None:
    expert, some = make(LABELS), read(texts(range(6)))
    learn(expert, some, [n % 3 for n in range(6)])
    before, mark, others = flat(expert.state()), expert.random.mark(), read(texts(range(6, 12)))
    predicted = expert.predict(others)
    found = expert.gradients(others, [n % 3 for n in range(6)])
    assert isinstance(found, Gradients)
    torch.testing.assert_close(found.log_probabilities, predicted, rtol=1e-5, atol=1e-6)
    assert found.losses.tolist() == pytest.approx(
        [-float(predicted[row, row % 3]) for row in range(6)], rel=1e-4, abs=1e-5
    )
    expert.drop()
    expert.random.reset(mark)
    assert flat(expert.state()) == before


def test_it_learns(make: Make, read: Callable[[Sequence[str]], Encoded]) -> None:
    expert = make(LABELS)
    for first in range(0, 240, 4):
        learn(expert, read(texts(range(first, first + 4))), [n % 3 for n in range(first, first + 4)])
    predicted = expert.predict(read(texts(range(300, 360)))).argmax(-1).tolist()
    assert np.mean([column == n % 3 for column, n in zip(predicted, range(300, 360), strict=True)]) > 0.9


def test_a_label_may_come_later_and_may_be_taken_back(make: Make, read: Callable[[Sequence[str]], Encoded]) -> None:
    expert = make(LABELS[:2])
    learn(expert, read(texts([0, 1])), [0, 1])
    before = flat(expert.state())
    mark = expert.random.mark()
    expert.grow(LABELS[2])
    expert.shrink(2)
    expert.random.reset(mark)
    assert flat(expert.state()) == before
    expert.grow(LABELS[2])
    assert expert.columns == LABELS
    assert expert.predict(read(texts([2]))).shape == (1, 3)
    for _ in range(40):
        learn(expert, read(texts([0, 1, 2, 5])), [0, 1, 2, 2])
    assert int(expert.predict(read(texts([2]))).argmax()) == 2


def test_saved_and_loaded_it_goes_on_with_the_same_bits(make: Make, read: Callable[[Sequence[str]], Encoded]) -> None:
    one, other = make([]), make([])
    one.grow(LABELS[0])
    learn(one, read(texts([0, 3])), [0, 0])
    for name in LABELS[1:]:
        one.grow(name)
    learn(one, read(texts(range(5))), [0, 1, 2, 0, 1])
    other.load(one.state())
    more = read(texts(range(5, 9)))
    for expert in (one, other):
        learn(expert, more, [2, 0, 1, 2])
    assert flat(one.state()) == flat(other.state())


def test_started_again_it_is_as_new(make: Make, read: Callable[[Sequence[str]], Encoded]) -> None:
    expert, new = make(LABELS), make(LABELS)
    learn(expert, read(texts(range(4))), [0, 1, 2, 0])
    expert.restart()
    assert expert.columns == LABELS
    assert expert.finite
    before, after = flat(new.state()), flat(expert.state())
    drawn = {name for name in before if "classifier" in name or "random" in name}
    assert {name: value for name, value in after.items() if name not in drawn} == {
        name: value for name, value in before.items() if name not in drawn
    }
    learn(expert, read(texts(range(4))), [0, 1, 2, 0])


def test_a_state_is_a_copy(make: Make, read: Callable[[Sequence[str]], Encoded]) -> None:
    expert = make(LABELS)
    learn(expert, read(texts(range(3))), [0, 1, 2])
    state = expert.state()
    before = flat(state)
    learn(expert, read(texts(range(3, 9))), [0, 1, 2, 0, 1, 2])
    assert flat(state) == before != flat(expert.state())


@pytest.mark.parametrize("kind", ONLINE, ids=lambda kind: kind.name)
def test_the_order_in_which_labels_are_met_does_not_matter(
    make_config: MakeConfig, read: Callable[[Sequence[str]], Encoded], kind: type[Any]
) -> None:
    config, order = make_config().updater, [2, 0, 1]
    one, other = kind(config, LABELS), kind(config, [LABELS[n] for n in order])
    for first in range(0, 24, 4):
        some, numbers = read(texts(range(first, first + 4))), [n % 3 for n in range(first, first + 4)]
        learn(one, some, numbers)
        learn(other, some, [order.index(n) for n in numbers])
    some = read(texts(range(50, 60)))
    torch.testing.assert_close(other.predict(some), one.predict(some)[:, order], rtol=1e-4, atol=1e-4)


def test_an_empty_micro_batch_is_nothing(make: Make, read: Callable[[Sequence[str]], Encoded]) -> None:
    expert = make(LABELS)
    if isinstance(expert, TransformerExpert):
        pytest.skip("the updater asks the transformer for no step without texts")
    learn(expert, read(texts(range(3))), [0, 1, 2])
    before = flat(expert.state())
    assert learn(expert, read([]), []).shape == (0, 3)
    assert flat(expert.state()) == before


def test_one_label_is_certain_and_with_none_nothing_is_known(
    make: Make, read: Callable[[Sequence[str]], Encoded]
) -> None:
    expert = make([])
    assert expert.predict(read(texts([0]))).shape == (1, 1)
    expert.grow(LABELS[0])
    learn(expert, read(texts([0, 1])), [0, 0])
    torch.testing.assert_close(expert.predict(read(texts([2]))).double(), torch.zeros(1, 1, dtype=torch.float64))


def test_a_text_of_which_nothing_is_kept_is_predicted_and_learnt_as_any_other(
    make: Make, read: Callable[[Sequence[str]], Encoded]
) -> None:
    expert = make(LABELS)
    for _ in range(3):
        learn(expert, read(["", *texts([1, 2])]), [0, 1, 2])
    predicted = expert.predict(read(["", ""]))
    assert bool(torch.isfinite(predicted).all())
    torch.testing.assert_close(predicted.double().logsumexp(-1), torch.zeros(2).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ONLINE, ids=lambda kind: kind.name)
def test_a_weight_of_0_is_as_if_the_text_had_not_been_there(
    make_config: MakeConfig, read: Callable[[Sequence[str]], Encoded], kind: type[Any]
) -> None:
    one, other = (kind(make_config().updater, LABELS) for _ in range(2))
    some, kept = read(texts(range(4))), [0, 2, 3]
    learn(one, some, [0, 1, 2, 0], [1.0, 0.0, 1.0, 1.0])
    assert some.ngrams is not None
    without = Encoded([some.tokens[n] for n in kept], ngrams=[some.ngrams[n] for n in kept])
    without.embeddings = {name: vectors[kept] for name, vectors in some.embeddings.items()}
    without.uncentred = {name: vectors[kept] for name, vectors in some.uncentred.items()}
    learn(other, without, [0, 2, 0])
    asked = read(texts(range(20, 26)))
    torch.testing.assert_close(one.predict(asked), other.predict(asked), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ONLINE, ids=lambda kind: kind.name)
def test_more_texts_than_go_together_take_no_more_memory_and_are_learnt_as_if_in_turn(
    make_config: MakeConfig, read: Callable[[Sequence[str]], Encoded], kind: type[Any]
) -> None:
    many = 1024
    encoded, targets = read(texts(range(many))), [n % 3 for n in range(many)]
    at_once, in_turn = (kind(make_config().updater, LABELS) for _ in range(2))
    learn(at_once, encoded, targets)
    for first in range(0, many, 256):
        own = slice(first, first + 256)
        some = Encoded(encoded.tokens[own], ngrams=encoded.ngrams and encoded.ngrams[own])
        some.embeddings = {name: vectors[own] for name, vectors in encoded.embeddings.items()}
        some.uncentred = {name: vectors[own] for name, vectors in encoded.uncentred.items()}
        learn(in_turn, some, targets[own])
    if kind.name != "softmax":  # which follows what was predicted of all of them before the first was learnt
        assert flat(at_once.state()) == flat(in_turn.state())
    tracemalloc.start()
    at_once.predict(encoded)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6
