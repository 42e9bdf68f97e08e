"""The mixture in the updater: tiers, experts that fail and come back, and what a step says of each."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import torch

from streamlearn.errors import ConfigurationError, StateError
from streamlearn.events import Reason
from streamlearn.learner import Learner
from streamlearn.reports import MicroBatch
from streamlearn.state import first_not_finite
from streamlearn.storage.states import tensors_of
from streamlearn.updater import Updater
from tests import zoo
from tests.conftest import OVERFLOWING
from tests.unit.builders import flat, learn, make_event
from tests.unit.conftest import MakeConfig
from tests.unit.test_learner import final_state

TOKENS = ["naive_bayes", "softmax", "recent_means", "recent_memory", "long_memory", "least_squares"]
FROZEN = [
    "frozen_recent_means",
    "frozen_recent_memory",
    "frozen_long_memory",
    "frozen_least_squares",
    "middle_least_squares",
]
ASTRAY = ["updater.learning_rate=1e38", "updater.head_learning_rate=1e38", "updater.warmup_steps=0"]


def batch(first: int) -> MicroBatch:
    events = [make_event(n) for n in range(first, first + 4)]
    return MicroBatch(fresh=events, records=[None] * 4, positions={("t", 0): first + 4})  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("experts", "names"),
    [
        ("tokens", TOKENS),
        ("frozen", [*TOKENS, *FROZEN]),
        ("tuned", ["transformer", "averaged", *TOKENS, *FROZEN]),
        ("[frozen_long_memory, naive_bayes]", ["naive_bayes", "frozen_long_memory"]),
    ],
)
def test_a_tier_has_its_experts_and_goes_on_with_the_same_bits(
    make_config: MakeConfig, micro_batches: list[MicroBatch], experts: str, names: list[str]
) -> None:
    config = make_config(f"updater.experts={experts}", "updater.trains=last-1", "buffer.records=9")
    updater = Updater(config)
    assert updater.experts == names
    assert (updater.transformer is not None) == ("transformer" in names)
    unbroken = flat(final_state(config, micro_batches))
    assert flat(final_state(config, micro_batches, saved_after=5)) == unbroken


@pytest.mark.parametrize(
    ("experts", "said"),
    [
        ("[naive_bays]", "there is no expert 'naive_bays'; did you mean 'naive_bayes'?"),
        ("[averaged]", "'averaged' averages the weights of 'transformer': add that one"),
    ],
)
def test_experts_that_cannot_be_are_one_sentence(make_config: MakeConfig, experts: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"updater\.experts: ") as caught:
        Updater(make_config(f"updater.experts={experts}"))
    assert said in str(caught.value)


def test_what_a_model_does_not_give_a_tier_does_without_and_an_expert_that_was_named_misses(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    model = [f"updater.model={zoo.save('t5', tmp_path)}", "updater.max_tokens=32"]
    assert Updater(make_config(*model, "updater.experts=tuned")).experts == ["transformer", "averaged", *TOKENS]
    with pytest.raises(ConfigurationError, match=r"'frozen_long_memory' reads frozen embeddings, which"):
        Updater(make_config(*model, "updater.experts=[frozen_long_memory]"))


def test_a_step_says_how_each_expert_did(make_config: MakeConfig) -> None:
    learner = Learner(make_config("updater.experts=tuned", "events.holdout_ratio=0"))
    report = None
    for first in range(0, 80, 4):
        report = learn(learner, batch(first))
    assert report is not None
    assert report.result is not None
    assert list(report.result.experts) == learner.updater.experts
    assert report.result.dropped == {}
    assert all(math.isfinite(one.loss) and math.isfinite(one.weight) for one in report.result.experts.values())
    assert len(report.result.predicted) == len(report.result.confidences) == 4
    assert all(0.0 < confidence <= 1.0 for confidence in report.result.confidences)


def test_a_transformer_that_goes_astray_starts_over_and_the_others_go_on(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config("updater.experts=tuned", "events.holdout_ratio=0", *ASTRAY)
    learner = Learner(config)
    with caplog.at_level(logging.INFO):
        for first in range(0, 240, 4):
            report = learn(learner, batch(first))
            assert report.result is not None
            assert len(report.learnt) == 4
            assert first_not_finite(tensors_of(learner.updater.state())) is None
    assert report.result.dropped["transformer"] == "not_finite"
    assert set(report.result.experts) >= {*TOKENS, *FROZEN}
    assert caplog.text.count("the expert 'transformer' is left out of the mixture: it is not finite any more") == 1
    assert learner.standing().accuracy > 0.7  # a third of them by chance
    learner.prove()


def test_a_transformer_that_can_take_no_step_any_more_starts_over_and_no_event_is_lost(make_config: MakeConfig) -> None:
    learner = Learner(make_config("updater.experts=tuned", "events.holdout_ratio=0"))
    for first in range(0, 40, 4):
        learn(learner, batch(first))
    transformer = learner.updater.transformer
    assert transformer is not None
    with torch.no_grad():  # its predictions are still finite, and its gradient is not
        transformer.model.classifier.weight *= 1e25
    report = learn(learner, batch(40))
    assert len(report.learnt) == 4
    assert report.result is not None
    assert "transformer" in report.result.dropped
    assert first_not_finite(tensors_of(learner.updater.state())) is None
    assert len(learn(learner, batch(44)).learnt) == 4


def test_an_expert_that_started_over_has_what_it_began_with_and_new_columns(make_config: MakeConfig) -> None:
    settings = ["updater.experts=tuned", "updater.trains=last-1", "events.labels=[label-0, label-1, label-2]"]
    new, updater = Updater(make_config(*settings)), Updater(make_config(*settings))
    for first in range(0, 12, 4):
        updater.step(updater.encode([make_event(n) for n in range(first, first + 4)]))
    updater.mixture.restart(["transformer", "averaged"])
    before, after = new.state()["transformer"], updater.state()["transformer"]
    assert flat(after["weights"]) == flat(before["weights"])
    assert after["optimizer"] == before["optimizer"]
    assert flat(updater.state()["averaged"]) == flat(new.state()["averaged"])


def test_a_text_that_the_transformer_cannot_bear_is_refused_alone_and_still_predicted(
    make_config: MakeConfig, overflowing_model: Path
) -> None:
    settings = [f"updater.model={overflowing_model}", "updater.experts=tuned"]
    spoilt, clean = Updater(make_config(*settings)), Updater(make_config(*settings))
    good, (poison,) = (
        clean.encode([make_event(n, text="late refund please") for n in range(4)]),
        clean.encode([make_event(8, label="poison", text=f"late {OVERFLOWING}")]),
    )
    result = spoilt.step([good[0], poison, *good[1:]])
    assert result.refused == {1: Reason.NOT_FINITE}
    clean.step(good)
    assert flat(spoilt.state()) == flat(clean.state())
    assert result.experts
    assert not spoilt.step([poison]).experts  # nobody has done anything in it
    assert spoilt.predict([poison, good[0]])[0] in list(spoilt.labels)
    assert torch.isfinite(spoilt.log_probabilities([poison])).all()


def test_a_model_that_is_not_what_it_was_is_refused(make_config: MakeConfig, tiny_model: Path, tmp_path: Path) -> None:
    config = make_config("updater.experts=frozen")
    updater = Updater(config)
    state = updater.state()
    with torch.no_grad():
        next(updater.backbone.model.base_model.parameters()).add_(1.0)
    updater.backbone.model.base_model.save_pretrained(tmp_path)
    updater.backbone.tokenizer.save_pretrained(tmp_path)
    other = Updater(make_config("updater.experts=frozen", f"updater.model={tmp_path}"))
    with pytest.raises(StateError, match=r"the weights of .* are not those that the checkpoint was made with"):
        other.load(state | {"model": str(tmp_path)})
    Updater(config).load(state)
    assert tiny_model.is_dir()


def test_more_layers_may_train_than_when_a_checkpoint_was_made(make_config: MakeConfig) -> None:
    fewer, more = (make_config("updater.experts=tuned", f"updater.trains={trains}") for trains in ("last-1", "all"))
    before, after = Updater(fewer), Updater(more)
    before.step(before.encode([make_event(n) for n in range(4)]))
    after.load(before.state())
    kept, gone_on = before.state()["averaged"]["weights"], after.state()["averaged"]["weights"]
    assert gone_on.keys() > kept.keys()
    assert all(torch.equal(gone_on[name], value) for name, value in kept.items())
    assert after.step(after.encode([make_event(n) for n in range(4, 8)])).applied


@pytest.mark.parametrize("fewer", ["updater.trains=last-1", "updater.trains=all updater.embeddings=frozen"])
def test_fewer_weights_may_train_only_where_no_feature_is_made_of_those_that_have_moved(
    make_config: MakeConfig, fewer: str
) -> None:
    for experts, fits in (("[transformer, naive_bayes]", True), ("[transformer, least_squares]", False)):
        before = Updater(make_config(f"updater.experts={experts}", "updater.trains=all"))
        after = Updater(make_config(f"updater.experts={experts}", *fewer.split()))
        after.load(before.state())  # nothing has moved yet
        before.step(before.encode([make_event(n) for n in range(4)]))
        if fits:
            after.load(before.state())
        else:
            with pytest.raises(StateError, match=r"fewer weights train than before .* set updater.trains"):
                after.load(before.state())


def test_another_pooling_does_not_fit_a_checkpoint_and_is_named(make_config: MakeConfig) -> None:
    mean, native = (
        make_config("updater.experts=tuned", f"updater.pooling={pooling}") for pooling in ("mean", "native")
    )
    with pytest.raises(StateError, match=r"updater\.pooling"):
        Updater(native).load(Updater(mean).state())
