"""The seam of the experts: what each of them keeps to, and several of them as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.errors import StateError
from streamlearn.events import Event, Reason
from streamlearn.reports import MicroBatch
from streamlearn.updater import Updater
from streamlearn.updater.experts import registry
from streamlearn.updater.experts.expert import Gradients
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.expert import TransformerExpert
from streamlearn.updater.features import Encoded
from streamlearn.updater.randomness import OwnRandom
from tests import zoo
from tests.conftest import OVERFLOWING
from tests.unit.builders import make_event
from tests.unit.conftest import MakeConfig
from tests.unit.prior import LONGEST, REGISTERED, Prior
from tests.unit.test_learner import final_state, flat

BOTH = "updater.experts=[transformer, prior]"
CLOSED = "events.labels=[label-0, label-1, label-2]"
POOLING = ["bert", "distilbert", "roberta", "xlnet", "gpt2", "llama", "t5", "bart", "fnet"]


@pytest.fixture
def expert(make_config: MakeConfig) -> TransformerExpert:
    return alone(make_config().updater)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a second expert, as its file and a line in the registry do."""
    monkeypatch.setattr(registry, "TOKENS", [REGISTERED])


def alone(config: UpdaterConfig, labels: Sequence[str] = ("label-0", "label-1", "label-2")) -> TransformerExpert:
    """Return a transformer, without the others."""
    return TransformerExpert(config, labels, Backbone(config, list(labels)))


def encoded(expert: TransformerExpert, numbers: list[int], **fields: Any) -> Encoded:
    return Encoded(expert.backbone.encode([make_event(number).text for number in numbers]), **fields)


def targets(numbers: list[int]) -> list[int]:
    return [number % 3 for number in numbers]


def gradient(expert: TransformerExpert, numbers: list[int], weights: list[float] | None) -> dict[str, Tensor]:
    """Return the gradient of a micro-batch, and drop it."""
    assert isinstance(expert.gradients(encoded(expert, numbers), targets(numbers), weights), Gradients)
    named = {name: p.grad.clone() for name, p in expert.model.named_parameters() if p.grad is not None}
    expert.drop()
    return named


@pytest.mark.parametrize(
    ("weights", "same_as"), [([1.0, 0.0, 1.0, 1.0, 0.0], [0, 2, 3]), ([1.0, 2.0, 0.0, 0.0, 1.0], [0, 1, 1, 4])]
)
def test_a_weight_is_how_often_a_text_is_there_and_0_is_not_at_all(
    expert: TransformerExpert, weights: list[float], same_as: list[int]
) -> None:
    weighted, plain = gradient(expert, list(range(5)), weights), gradient(expert, same_as, None)
    assert weighted.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(weighted[name], value, rtol=1e-4, atol=1e-6)


def test_weights_of_1_are_no_weights_to_the_bit(make_config: MakeConfig) -> None:
    config = make_config(CLOSED, "updater.dropout=0.1")
    weighted, plain = Updater(config), Updater(config)
    events = plain.encode([make_event(n) for n in range(9)])
    for first in range(3):
        results = (
            weighted.step(events[first:6], events[6:], [1.0] * (9 - first)),
            plain.step(events[first:6], events[6:]),
        )
        assert repr(results[0]) == repr(results[1])
    assert flat(weighted.state()) == flat(plain.state())


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, -1.0, 1.0], [1.0, math.nan, 1.0], [1.0, math.inf, 1.0]])
def test_weights_that_make_no_sense_are_the_callers_mistake_and_no_texts(
    make_config: MakeConfig, weights: list[float]
) -> None:
    updater = Updater(make_config(CLOSED))
    before = flat(updater.state())
    with pytest.raises(ValueError, match="3 events need as many weights, finite and not negative"):
        updater.step(updater.encode([make_event(n) for n in range(3)]), (), weights)
    assert flat(updater.state()) == before


def test_texts_that_all_have_weight_0_pull_nowhere(expert: TransformerExpert) -> None:
    assert all(not value.any() for value in gradient(expert, [0, 1], [0.0, 0.0]).values())


def test_of_isolated_texts_the_others_keep_their_weights(make_config: MakeConfig, overflowing_model: Path) -> None:
    config = make_config(CLOSED, f"updater.model={overflowing_model}")
    poisoned, clean = Updater(config), Updater(config)
    good = clean.encode([make_event(n, text=f"late refund {'please ' * (n % 3)}") for n in range(5)])
    bad = clean.encode([make_event(7, text=f"late {OVERFLOWING} refund")])
    result = poisoned.step([good[0], *bad, *good[1:3]], good[3:], [0.5, 9.0, 0.0, 2.0, 1.0, 0.25])
    clean.step(good[:3], good[3:], [0.5, 0.0, 2.0, 1.0, 0.25])
    assert result.refused == {1: Reason.NOT_FINITE}
    assert flat(poisoned.state()) == flat(clean.state())


def test_between_gradients_and_apply_nothing_has_moved_and_dropped_it_is_as_if_never_asked(
    make_config: MakeConfig,
) -> None:
    config, numbers = make_config("updater.dropout=0.2").updater, [0, 1, 2, 3]
    asked, other = (alone(config) for _ in range(2))
    before, mark = flat(asked.state()), asked.random.mark()
    assert isinstance(asked.gradients(encoded(asked, numbers), targets(numbers)), Gradients)
    asked.drop()
    asked.random.reset(mark)
    assert flat(asked.state()) == before
    for one in (asked, other):
        found = one.gradients(encoded(one, numbers), targets(numbers))
        assert isinstance(found, Gradients)
        one.apply(found)
    assert flat(asked.state()) == flat(other.state()) != before


def test_an_experts_draws_are_its_own_and_torchs_generator_is_left_alone(make_config: MakeConfig) -> None:
    config, numbers = make_config("updater.dropout=0.3").updater, [0, 1, 2, 3]

    def learnt(*, disturbed: bool) -> dict[str, object]:
        expert, other = (alone(config, []) for _ in range(2))
        for name in ("label-0", "label-1", "label-2"):
            if disturbed:
                torch.rand(3)
                other.grow(name)
            expert.grow(name)
        for _ in range(3):
            if disturbed:
                torch.rand(5)
                other.gradients(encoded(other, numbers), targets(numbers))
            expert.predict(encoded(expert, numbers))
            found = expert.gradients(encoded(expert, numbers), targets(numbers))
            assert isinstance(found, Gradients)
            expert.apply(found)
        return flat(expert.state())

    torch.manual_seed(11)
    outside = torch.get_rng_state()
    undisturbed = learnt(disturbed=False)
    assert torch.equal(torch.get_rng_state(), outside)
    assert learnt(disturbed=True) == undisturbed


def test_a_generator_of_ones_own_begins_where_torchs_does_with_that_seed() -> None:
    own = OwnRandom(5, torch.device("cpu"))
    with own:
        drawn = torch.randn(3)
    torch.manual_seed(5)
    assert torch.equal(torch.randn(3), drawn)


@pytest.mark.parametrize("kind", POOLING)
def test_the_pooled_states_are_what_the_predictions_are_made_of_and_cost_no_forward_pass(
    make_config: MakeConfig, tmp_path: Path, kind: str
) -> None:
    model = zoo.save(kind, tmp_path)
    config = make_config(f"updater.model={model}", "updater.max_tokens=32", "updater.dropout=0.1").updater
    labels, numbers = ["label-0", "label-1", "label-2"], [0, 3, 5, 9, 16]
    asked, unasked = alone(config, labels), alone(config, labels)
    for one in (asked, unasked):
        one.grow("label-3")  # a new output layer is tapped as the first was
    passes: list[int] = []
    asked.model.register_forward_hook(lambda *_: passes.append(1))
    wanting, plain = encoded(asked, numbers, wanted=frozenset({"pooled"})), encoded(asked, numbers)
    parts = len(asked.forward.parts(wanting.tokens))

    def of_the_states() -> Tensor:
        assert wanting.pooled is not None
        assert not wanting.pooled.requires_grad
        with torch.no_grad():
            for module in reversed(list(asked.model.modules())):
                if isinstance(module, torch.nn.Linear) and module.out_features == 4:
                    return module(wanting.pooled).log_softmax(-1)
        raise AssertionError

    predicted = asked.predict(wanting)
    torch.testing.assert_close(of_the_states(), predicted, rtol=1e-5, atol=1e-6)
    assert len(passes) == parts
    assert torch.equal(unasked.predict(plain), predicted)
    found, other = (one.gradients(given, targets(numbers)) for one, given in ((asked, wanting), (unasked, plain)))
    assert isinstance(found, Gradients)
    assert isinstance(other, Gradients)
    torch.testing.assert_close(of_the_states(), found.log_probabilities, rtol=1e-5, atol=1e-6)
    assert len(passes) == 2 * parts
    assert plain.pooled is None
    asked.apply(found)
    unasked.apply(other)
    assert flat(asked.state()) == flat(unasked.state())


def test_the_pooled_state_of_a_text_at_which_the_model_raises_is_nan(expert: TransformerExpert) -> None:
    texts = encoded(expert, [0, 1, 2], wanted=frozenset({"pooled"}))
    unknown = np.array([10**6], dtype=np.int32)
    broken = Encoded([texts.tokens[0], unknown, texts.tokens[2]], texts.wanted)
    expert.predict(texts)
    rows = expert.predict(broken)
    assert texts.pooled is not None
    assert broken.pooled is not None
    torch.testing.assert_close(broken.pooled[[0, 2]], texts.pooled[[0, 2]])
    assert broken.pooled[1].isnan().all()
    assert rows.isnan().all(-1).tolist() == [False, True, False]


def both(updater: Updater) -> tuple[TransformerExpert, Prior]:
    transformer, prior = updater.mixture.experts
    assert isinstance(transformer, TransformerExpert)
    assert isinstance(prior, Prior)
    return transformer, prior


@pytest.mark.usefixtures("beside")
def test_several_experts_predict_as_one_and_share_one_forward_pass(make_config: MakeConfig) -> None:
    updater = Updater(make_config(BOTH))
    transformer, prior = both(updater)
    passes: list[int] = []
    transformer.model.register_forward_hook(lambda *_: passes.append(1))
    events = updater.encode([make_event(n) for n in range(4)])
    result = updater.step(events)
    assert list(updater.labels) == transformer.columns == prior.columns == ["label-0", "label-1", "label-2"]
    before = len(passes)
    mixed = updater.log_probabilities(events)
    assert len(passes) == 2 * before
    assert [states is not None and states.shape for states in prior.pooled] == [(4, 32), (4, 32)]
    each = [one.predict(updater._encoded(events)) for one in (transformer, prior)]
    pool = updater.mixture._pool
    assert pool is not None
    torch.testing.assert_close(mixed, pool.predict(each))
    assert updater.step(events).losses.tolist() == pytest.approx((-mixed[range(4), [0, 1, 2, 0]]).tolist())
    assert result.gradient_norm > 0


def test_an_expert_beside_it_changes_no_bit_of_the_transformer(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = Updater(make_config("updater.dropout=0.2"))
    monkeypatch.setattr(registry, "TOKENS", [REGISTERED])
    accompanied = Updater(make_config("updater.dropout=0.2", BOTH))
    for first in range(0, 12, 4):
        events = single.encode([make_event(n) for n in range(first, first + 4)])
        single.step(events)
        accompanied.step(events)
    assert flat(accompanied.state()["transformer"]) == flat(single.state()["transformer"])
    assert accompanied.state().keys() - single.state().keys() == {"prior", "pool", "frozen"}


@pytest.mark.usefixtures("beside")
def test_a_text_that_one_of_several_experts_cannot_bear_is_as_if_it_had_not_been_there_for_any(
    make_config: MakeConfig, overflowing_model: Path
) -> None:
    config = make_config(f"updater.model={overflowing_model}", "updater.dropout=0.1", BOTH)
    spoilt, clean = Updater(config), Updater(config)
    good: list[Event] = clean.encode([make_event(n, text="late refund please") for n in range(6)])
    long = make_event(7, label="long", text="please " * (LONGEST + 1))
    poison = make_event(8, label="poison", text=f"late {OVERFLOWING}")
    bad = clean.encode([long, poison])
    result = spoilt.step([good[0], bad[0], *good[1:3], bad[1]], [good[3], bad[0], *good[4:]])
    assert result.refused == dict.fromkeys((1, 4), Reason.NOT_FINITE)
    assert result.unfit == [1]
    clean.step(good[:3], good[3:])
    assert flat(spoilt.state()) == flat(clean.state())


@pytest.mark.usefixtures("beside")
def test_a_saved_learner_of_several_experts_goes_on_with_the_same_bits(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    config = make_config("buffer.records=9", "updater.dropout=0.1", BOTH)
    unbroken = flat(final_state(config, micro_batches))
    for saved_after in (1, 5, 11):
        assert flat(final_state(config, micro_batches, saved_after=saved_after)) == unbroken


def test_a_checkpoint_without_the_transformer_is_refused(make_config: MakeConfig) -> None:
    updater = Updater(make_config(CLOSED))
    state = updater.state()
    del state["transformer"]
    with pytest.raises(StateError, match=r"does not fit the configured model \('transformer'\)"):
        updater.load(state)


def test_a_checkpoint_from_before_the_mixture_says_what_to_set_and_with_that_goes_on(make_config: MakeConfig) -> None:
    before = Updater(make_config())
    before.step(before.encode([make_event(n) for n in range(4)]))
    state = before.state()
    del state["steps"]
    with pytest.raises(StateError, match=r"set updater\.experts: \[transformer\], updater\.pooling: native and.* all;"):
        Updater(make_config("updater.experts=tuned", "updater.pooling=mean", "updater.trains=last-1")).load(state)
    after = Updater(make_config())
    after.load(state)
    assert (after.steps, flat(after.state())) == (1, flat(before.state()))


def test_an_expert_that_the_checkpoint_does_not_know_starts_over_with_its_labels(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    single = Updater(make_config())
    single.step(single.encode([make_event(n) for n in range(4)]))
    state = single.state()
    monkeypatch.setattr(registry, "TOKENS", [REGISTERED])
    accompanied = Updater(make_config(BOTH))
    accompanied.load(state)
    assert "made without the expert 'prior'" in caplog.text
    transformer, prior = both(accompanied)
    assert prior.columns == transformer.columns == ["label-0", "label-1", "label-2"]
    assert flat(accompanied.state()["transformer"]) == flat(state["transformer"])
    assert accompanied.step(accompanied.encode([make_event(n) for n in range(4, 8)])).applied
