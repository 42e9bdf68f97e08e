"""λR for language models: its gradient is the formula's, and it remembers through a checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from streamlearn.errors import StateError
from streamlearn.learner import Learner
from streamlearn.storage.states import read_state, write_state
from streamlearn.updater.experts.transformer.regularizers import ewc
from streamlearn.updater.language.start import divergence
from streamlearn.updater.language.updater import LanguageUpdater
from tests.unit.builders import flat
from tests.unit.conftest import MakeConfig
from tests.unit.language import event, take_steps

NAMES = ["l2", "l2_sp", "ewc", "lwf"]
STRENGTH = 0.5
PLAIN = ["updater.optimizer=sgd", "updater.weight_decay=0", "updater.replay_ratio=0", "updater.learning_rate=0.1"]

Gradient = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _short_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ewc, "STEPS", 3)


def settings(name: str) -> list[str]:
    return [f"updater.regularizer={name}", f"updater.regularization={STRENGTH}", *PLAIN]


def gradient(updater: LanguageUpdater, numbers: range) -> Gradient:
    """Return the gradient that a step on these texts would follow, which is not taken."""
    descent = updater.descent
    texts = [one.tokens for one in updater.encode([event(number) for number in numbers]) if one.tokens is not None]
    descent.gradients(texts)
    found = {name: p.grad.clone() for name, p in updater.model.named_parameters() if p.grad is not None}
    assert descent.objection(texts) is None  # which forgets it
    return found


def pull(updater: LanguageUpdater, numbers: range = range(4)) -> Gradient:
    """Return ∇R: what the regulariser adds to the gradient, divided by λ."""
    descent = updater.descent
    whole, descent.regularizer, regularizer = gradient(updater, numbers), None, descent.regularizer
    plain, descent.regularizer = gradient(updater, numbers), regularizer
    return {name: (value - plain[name]) / STRENGTH for name, value in whole.items()}


def assert_close(found: Gradient, expected: Gradient) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-6, msg=name)


def weights(updater: LanguageUpdater) -> Gradient:
    return {name: p.detach().clone() for name, p in updater.model.named_parameters() if p.requires_grad}


def test_l2_pulls_matrices_to_zero(make_language_config: MakeConfig) -> None:
    learner = Learner(make_language_config(*settings("l2")))
    take_steps(learner, 0, 3)
    now = weights(learner.updater)
    assert_close(pull(learner.updater), {n: v if v.ndim > 1 else torch.zeros_like(v) for n, v in now.items()})


@pytest.mark.parametrize("trains", ["all", "lora"])
def test_l2_sp_pulls_all_that_trains_to_where_it_began(make_language_config: MakeConfig, trains: str) -> None:
    learner = Learner(make_language_config(*settings("l2_sp"), f"updater.trains={trains}"))
    began = weights(learner.updater)
    take_steps(learner, 0, 3)
    expected = {name: value - began[name] for name, value in weights(learner.updater).items()}
    assert any(bool(value.abs().max() > 1e-4) for value in expected.values())
    assert_close(pull(learner.updater), expected)


def test_ewc_pulls_each_weight_to_where_the_last_task_ended_by_how_much_it_mattered(
    make_language_config: MakeConfig,
) -> None:
    learner = Learner(make_language_config(*settings("ewc"), "events.holdout_ratio=0"))
    descent, squares = learner.updater.descent, list[Gradient]()
    for step in range(3):
        regularizer, descent.regularizer = descent.regularizer, None
        found = gradient(learner.updater, range(4 * step, 4 * step + 4))
        squares.append({name: 4 * value**2 for name, value in found.items()})
        descent.regularizer = regularizer
        take_steps(learner, step, step + 1)
    anchor = weights(learner.updater)
    take_steps(learner, 3, 4)
    now = weights(learner.updater)
    expected = {name: sum(one[name] for one in squares) / 3 * (now[name] - anchor[name]) for name in now}
    found = pull(learner.updater)
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=2e-2, atol=1e-2 * scale + 1e-7, msg=name)


@pytest.mark.parametrize("trains", ["all", "lora"])
def test_lwf_pulls_what_is_said_of_each_token_to_what_the_model_said_when_it_was_loaded(
    make_language_config: MakeConfig, trains: str
) -> None:
    learner = Learner(make_language_config(*settings("lwf"), f"updater.trains={trains}"))
    updater = learner.updater
    start = copy.deepcopy(updater.model)
    assert all(bool((value.abs() < 1e-6).all()) for value in pull(updater).values())
    take_steps(learner, 0, 3)
    total, tokens = torch.zeros(()), 0
    for one in updater.encode([event(number) for number in range(4)]):
        ids = torch.tensor([[1, *one.tokens.tolist()]])  # type: ignore[union-attr]
        now, then = (model(input_ids=ids).logits[0].log_softmax(-1) for model in (updater.model, start))
        total = total + (then.exp() * (then - now)).sum()
        tokens += ids.shape[1]
    names = [(name, p) for name, p in updater.model.named_parameters() if p.requires_grad]
    expected = torch.autograd.grad(total / tokens, [p for _, p in names])
    assert any(bool(value.abs().max() > 1e-4) for value in expected)
    assert_close(pull(updater), dict(zip([name for name, _ in names], expected, strict=True)))
    logits, said = torch.randn(5, 7, requires_grad=True), torch.randn(5, 7)
    (by_logits,) = torch.autograd.grad(divergence(logits, said).sum(), logits)
    torch.testing.assert_close(by_logits, logits.softmax(-1) - said.softmax(-1))


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_a_regularizer_goes_on_with_the_same_bits(
    make_language_config: MakeConfig, tmp_path: Path, name: str
) -> None:
    config = make_language_config(
        f"updater.regularizer={name}", "updater.trains=last-1", "updater.dropout=0.1", "updater.replay_ratio=0.5"
    )
    unbroken, first, resumed = Learner(config), Learner(config), Learner(config)
    take_steps(unbroken, 0, 9)
    take_steps(first, 0, 5)
    write_state(tmp_path, first.state())
    resumed.load(read_state(tmp_path))
    take_steps(resumed, 5, 9)
    assert flat(resumed.state()) == flat(unbroken.state())


@pytest.mark.parametrize("name", ["l2_sp", "lwf"])
def test_another_start_than_the_one_that_it_pulls_to_is_refused(make_language_config: MakeConfig, name: str) -> None:
    learner = Learner(make_language_config(f"updater.regularizer={name}"))
    state = learner.state()
    first = next(iter(state["updater"]["regularizer"]["start"]))
    state["updater"]["regularizer"]["start"][first] = "0" * 64
    with pytest.raises(StateError, match=f"updater.regularizer is {name}, and the model that the checkpoint began"):
        learner.load(state)


def test_it_may_change_between_runs_and_then_starts_over(
    make_language_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = (Learner(make_language_config(f"updater.regularizer={one}")) for one in ("ewc", "lwf"))
    take_steps(before, 0, 2)
    after.load(before.state())
    assert "updater.regularizer changed since the checkpoint" in caplog.text
