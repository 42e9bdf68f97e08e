"""λR: its gradient is the formula's, it remembers through a checkpoint, and labels may come later."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from streamlearn.errors import ConfigurationError, StateError
from streamlearn.events import Event
from streamlearn.updater import Updater
from streamlearn.updater.experts.transformer.regularizers import der, ewc, lwf
from streamlearn.updater.features import Encoded
from tests.unit.builders import flat, make_event
from tests.unit.conftest import MakeConfig

NAMES = ["l2", "l2_sp", "ewc", "lwf", "der"]
STRENGTH = 0.5
PLAIN = ["updater.optimizer=sgd", "updater.weight_decay=0", "updater.warmup_steps=0", "updater.learning_rate=0.3"]
TRAINED = ["updater.trains=last-1", *PLAIN]

Gradient = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _short_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ewc, lwf):
        monkeypatch.setattr(module, "STEPS", 3)


def settings(name: str) -> list[str]:
    return [f"updater.regularizer={name}", f"updater.regularization={STRENGTH}", *TRAINED]


def events(numbers: Sequence[int], label: str | None = None) -> list[Event]:
    return [make_event(number, label) for number in numbers]


def gradient(updater: Updater, texts: Sequence[Event], weights: Sequence[float] | None = None) -> Gradient:
    """Return the gradient that a step on `texts` would follow, which is not taken."""
    expert = updater.transformer
    known = updater.labels.names()
    encoded = Encoded.of(updater.encode(texts), frozenset())
    expert.gradients(encoded, [known.index(str(text.label)) for text in texts], weights)
    found = {name: p.grad.clone() for name, p in expert.model.named_parameters() if p.grad is not None}
    expert.drop()
    return found


def pull(updater: Updater, texts: Sequence[Event], weights: Sequence[float] | None = None) -> Gradient:
    """Return ∇R: what the regulariser adds to the gradient, divided by λ."""
    expert = updater.transformer
    whole, expert.regularizer, regularizer = gradient(updater, texts, weights), None, expert.regularizer
    plain, expert.regularizer = gradient(updater, texts, weights), regularizer
    return {name: (value - plain[name]) / STRENGTH for name, value in whole.items()}


def assert_close(found: Gradient, expected: Gradient) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-6, msg=name)


def trained(updater: Updater) -> Gradient:
    return {n: p.detach().clone() for n, p in updater.transformer.model.named_parameters() if p.requires_grad}


def learn(updater: Updater, numbers: Sequence[int], label: str | None = None) -> None:
    assert updater.step(updater.encode(events(numbers, label))).applied


def of_texts(updater: Updater, texts: Sequence[Event], distance: object, weights: Sequence[float]) -> Gradient:
    """Return the gradient of the weighted mean of `distance`, of shape (texts,), of the logits of `texts`."""
    model, tokens = updater.transformer.model, [event.tokens for event in updater.encode(texts)]
    (part,) = updater.transformer.forward.parts(tokens) if len(set(map(len, tokens))) == 1 else (None,)
    assert part is not None, "texts of one length go together"
    logits = updater.transformer.forward.logits(part, tokens)[[part.rows.index(row) for row in range(len(texts))]]
    mean = (distance(logits) * torch.tensor(weights)).sum() / sum(weights)  # type: ignore[operator]
    names = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(mean, [p for _, p in names])
    return dict(zip([name for name, _ in names], found, strict=True))


def test_l2_pulls_matrices_to_zero(make_config: MakeConfig) -> None:
    updater = Updater(make_config(*settings("l2")))
    learn(updater, range(8))
    expected = {n: v if v.ndim > 1 else torch.zeros_like(v) for n, v in trained(updater).items()}
    assert_close(pull(updater, events(range(4))), expected)


def test_l2_sp_pulls_the_body_to_where_it_began_and_leaves_the_head_alone(
    make_config: MakeConfig, tiny_model: Path
) -> None:
    updater = Updater(make_config(*settings("l2_sp")))
    learn(updater, range(8))
    began = load_file(tiny_model / "model.safetensors")
    now = trained(updater)
    expected = {n: torch.zeros_like(v) if n.startswith("classifier") else v - began[n] for n, v in now.items()}
    assert any(bool(value.abs().max() > 1e-4) for value in expected.values())
    assert_close(pull(updater, events(range(4))), expected)


def test_ewc_pulls_each_weight_to_where_the_last_task_ended_by_the_fisher_information_of_all(
    make_config: MakeConfig,
) -> None:
    updater = Updater(make_config(*settings("ewc")))
    learn(updater, range(8))  # all labels are known from here on
    updater.transformer.regularizer.restart()
    fisher: Gradient = {}
    for _ in range(2):
        squares = list[Gradient]()
        for first in range(3):
            texts = events(range(4 * first, 4 * first + 4))
            expert = updater.transformer
            regularizer, expert.regularizer = expert.regularizer, None
            squares.append({name: 4 * value**2 for name, value in gradient(updater, texts).items()})
            expert.regularizer = regularizer
            learn(updater, range(4 * first, 4 * first + 4))
        task = {name: sum(one[name] for one in squares) / 3 for name in squares[0]}
        fisher = {name: 0.95 * fisher.get(name, 0.0) + value for name, value in task.items()}  # type: ignore[misc]
        anchor = trained(updater)
    learn(updater, range(20, 24))
    expected = {name: fisher[name] * (value - anchor[name]) for name, value in trained(updater).items()}
    assert any(bool(value.abs().max() > 1e-6) for value in expected.values())
    found = pull(updater, events(range(4)))
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=2e-2, atol=1e-2 * scale + 1e-7, msg=name)


def test_lwf_pulls_what_is_said_to_what_the_last_copy_says_at_a_temperature_of_two(make_config: MakeConfig) -> None:
    updater = Updater(make_config(*settings("lwf")))
    for first in range(3):
        learn(updater, range(4 * first, 4 * first + 4))
    texts, weights = events([0, 6, 12, 18]), [1.0, 2.0, 0.5, 1.0]
    tokens = [event.tokens for event in updater.encode(texts)]
    copied = updater.transformer.forward.predict(tokens)
    assert all(bool((value.abs() < 1e-6).all()) for value in pull(updater, texts, weights).values())
    learn(updater, range(20, 28))
    soft = (copied / 2).softmax(-1)

    def divergence(logits: Tensor) -> Tensor:
        return 4 * (soft * (soft.log() - (logits / 2).log_softmax(-1))).sum(-1)

    assert_close(pull(updater, texts, weights), of_texts(updater, texts, divergence, weights))
    logits = torch.randn(5, 3, requires_grad=True)
    (by_logits,) = torch.autograd.grad(lwf.divergence(logits, copied[:1, :3].expand(5, 3)).sum(), logits)
    torch.testing.assert_close(by_logits, 2 * ((logits / 2).softmax(-1) - (copied[:1, :3] / 2).softmax(-1)))


def test_lwf_goes_by_what_was_published_last_and_makes_its_own_copies_until_then(make_config: MakeConfig) -> None:
    updater = Updater(make_config(*settings("lwf")))
    texts = events([0, 6, 12, 18])

    def said(updater: Updater) -> Tensor:
        return updater.transformer.forward.predict([event.tokens for event in updater.encode(texts)])

    def assert_goes_by(copied: Tensor, updater: Updater) -> None:
        expected = of_texts(updater, texts, lambda logits: lwf.divergence(logits, copied), [1.0] * 4)
        assert_close(pull(updater, texts, [1.0] * 4), expected)

    updater.transformer.regularizer.published()  # which nobody has offered
    for first in range(0, 12, 4):
        learn(updater, range(first, first + 4))
    own = said(updater)  # of the third step
    learn(updater, range(12, 16))
    offered = said(updater)
    updater.transformer.regularizer.offered()
    learn(updater, range(16, 20))
    assert_goes_by(own, updater)  # it may be rejected
    waiting = Updater(make_config(*settings("lwf")))
    waiting.load(updater.state())
    for one in (updater, waiting):
        one.transformer.regularizer.published()
        for first in range(20, 40, 4):
            learn(one, range(first, first + 4))
        assert_goes_by(offered, one)
    again = Updater(make_config(*settings("lwf")))
    again.load(updater.state())
    for first in range(40, 60, 4):
        learn(again, range(first, first + 4))
    assert_goes_by(offered, again)


def test_der_pulls_the_logits_of_a_text_to_those_that_it_was_learnt_with(make_config: MakeConfig) -> None:
    updater = Updater(make_config(*settings("der")))
    learn(updater, range(1, 4))
    texts, weights = events([0, 6, 12, 18]), [1.0, 2.0, 0.5, 1.0]
    tokens = [event.tokens for event in updater.encode(texts)]
    part = updater.transformer.forward.parts(tokens)[0]
    said = updater.transformer.forward.logits(part, tokens).detach()[[part.rows.index(row) for row in range(4)]]
    assert all(bool((value.abs() < 1e-6).all()) for value in pull(updater, texts, weights).values())
    learn(updater, [0, 6, 12, 18])
    for _ in range(2):  # the second time they are met, what was said the first time counts
        learn(updater, [0, 6, 12, 18])

    def distance(logits: Tensor) -> Tensor:
        return ((logits - said) ** 2).mean(-1)

    assert_close(pull(updater, texts, weights), of_texts(updater, texts, distance, weights))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("experts", ["[transformer]", "[transformer, averaged, naive_bayes]"])
def test_saved_and_loaded_a_regularizer_goes_on_with_the_same_bits_and_labels_may_come_later(
    make_config: MakeConfig, name: str, experts: str
) -> None:
    config = make_config(
        "updater.trains=last-1", f"updater.regularizer={name}", f"updater.experts={experts}", "updater.dropout=0.1"
    )
    unbroken, count = Updater(config), itertools.count()
    for _ in range(4):
        learn(unbroken, [next(count) for _ in range(4)])
    restored = Updater(config)
    restored.load(unbroken.state())
    assert flat(restored.state()) == flat(unbroken.state())
    for step in range(6):
        label = "later" if step == 1 else None
        numbers = [*(next(count) for _ in range(4)), 0, 1]
        for updater in (unbroken, restored):
            learn(updater, numbers, label)
    assert len(unbroken.labels) == 4
    assert flat(restored.state()) == flat(unbroken.state())


@pytest.mark.parametrize("name", NAMES)
def test_a_step_on_a_text_that_is_refused_leaves_nothing_behind(make_config: MakeConfig, name: str) -> None:
    updater = Updater(make_config(f"updater.regularizer={name}"))
    learn(updater, range(4))
    before = flat(updater.state())
    encoded = Encoded.of(updater.encode(events(range(4, 8))), frozenset())
    updater.transformer.gradients(encoded, [0, 1, 2, 0])
    updater.transformer.drop()
    assert flat(updater.state()) == before


@pytest.mark.parametrize("name", NAMES)
def test_it_may_change_between_runs_and_then_starts_over(
    make_config: MakeConfig, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = (Updater(make_config(f"updater.regularizer={one}")) for one in ("der", name))
    learn(before, range(4))
    after.load(before.state())
    learn(after, range(4))
    assert ("updater.regularizer changed since the checkpoint" in caplog.text) == (name != "der")


def test_another_start_than_the_one_that_l2_sp_pulls_to_is_refused(make_config: MakeConfig) -> None:
    updater = Updater(make_config("updater.regularizer=l2_sp", "updater.trains=all"))
    state = updater.state()
    first = next(iter(state["transformer"]["regularizer"]["start"]))
    state["transformer"]["regularizer"]["start"][first] = "0" * 64
    with pytest.raises(StateError, match="the model that the checkpoint began with was another one"):
        updater.load(state)


def test_der_remembers_within_bounds_what_was_met_last(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(der, "MOST", 5 * (der.OVERHEAD + 12))
    updater = Updater(make_config("updater.regularizer=der", "events.labels=[label-0, label-1, label-2]"))
    for first in range(8):
        learn(updater, [first, 100])
    state = updater.state()["transformer"]["regularizer"]
    assert state["texts"].shape == (5, 16)
    assert state["logits"].shape == (15,)
    keys = {bytes(row) for row in state["texts"].numpy()}
    assert der._key(updater.encode([make_event(100)])[0].tokens) in keys  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["l2", "l2_sp", "ewc"])
def test_sparse_embeddings_are_not_pulled_at(make_config: MakeConfig, name: str) -> None:
    updater = Updater(make_config(f"updater.regularizer={name}", "updater.embeddings=sparse"))
    table = "bert.embeddings.word_embeddings.weight"
    before = updater.transformer.weights()[table].clone()
    for _ in range(5):
        learn(updater, [0])
    occurred = set(updater.encode([make_event(0)])[0].tokens.tolist())  # type: ignore[union-attr]
    moved = (updater.transformer.weights()[table] != before).any(-1).nonzero().flatten().tolist()
    assert set(moved) <= occurred


def test_a_strength_without_a_regularizer_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigurationError, match="regularization is how strong a regularizer is, and none is named"):
        make_config("updater.regularization=0.1")
