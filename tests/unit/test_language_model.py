"""The objective language_model: what it learns, what it refuses, and that it goes on with the same bits."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import streamlearn
from streamlearn.commands.evaluate import evaluate
from streamlearn.config import Config, load
from streamlearn.consumer.decode import Decoder
from streamlearn.errors import AstrayError, ConfigurationError, StateError
from streamlearn.events import Event, Outcome, Reason
from streamlearn.learner import Learner
from streamlearn.local.tiny import WORDS, save_tiny_language_model
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.storage.states import read_state, write_state
from tests.conftest import OVERFLOWING
from tests.conftest import streamlearn as command
from tests.unit.builders import flat, make_record
from tests.unit.conftest import MakeConfig
from tests.unit.language import event, settings, snapshot, take, take_steps


def test_it_learns_to_need_fewer_bits_and_says_so_before_each_step(make_language_config: MakeConfig) -> None:
    learner = Learner(make_language_config("monitor.accuracy_window=20"))
    take_steps(learner, 0, 6)
    before = learner.standing()
    take_steps(learner, 6, 60)
    after = learner.standing()
    assert after.bits_per_byte < 0.75 * before.bits_per_byte
    assert after.perplexity < 0.75 * before.perplexity
    assert math.isnan(after.accuracy)


def test_what_a_text_costs_is_what_the_model_as_it_was_says_to_the_last_token(make_language_config: MakeConfig) -> None:
    config = make_language_config("events.holdout_ratio=0", "updater.replay_ratio=0")
    learner = Learner(config)
    model = AutoModelForCausalLM.from_pretrained(config.updater.model)
    tokenizer = AutoTokenizer.from_pretrained(config.updater.model)
    events = [event(n) for n in range(4)]
    result = take(learner, *events).result
    assert result
    assert result.texts
    for row, one in enumerate(events):
        ids = torch.tensor([[1, *tokenizer(one.text, add_special_tokens=False)["input_ids"], 2]])
        expected = model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        assert result.texts.nats[row] == pytest.approx(expected, rel=1e-5)
        assert result.texts.bits_per_byte[row] == pytest.approx(expected / math.log(2) / len(one.text.encode()))
    assert result.loss == pytest.approx(result.texts.nats.sum() / result.texts.tokens.sum())


def test_a_text_of_more_tokens_than_the_model_takes_at_once_is_learnt_to_its_end(
    make_language_config: MakeConfig,
) -> None:
    learner = Learner(make_language_config("updater.max_tokens=8", "events.holdout_ratio=0"))
    text = " ".join(WORDS[n % 30] for n in range(50))
    result = take(learner, event(0, text)).result
    assert result
    assert result.texts
    assert (result.texts.tokens.tolist(), result.texts.bytes.tolist()) == ([51], [len(text)])


@pytest.mark.parametrize(
    "more",
    [[], ["updater.dropout=0.1"], ["updater.trains=last-1"], ["updater.trains=lora", "updater.dropout=0.1"]],
    ids=["", "dropout", "last-1", "lora"],
)
def test_a_saved_learner_goes_on_with_the_same_bits(
    make_language_config: MakeConfig, tmp_path: Path, more: list[str]
) -> None:
    config = make_language_config("updater.replay_ratio=0.5", "buffer.records=9", *more)
    unbroken = Learner(config)
    take_steps(unbroken, 0, 9)
    first = Learner(config)
    take_steps(first, 0, 5)
    write_state(tmp_path, first.state())
    resumed = Learner(config)
    resumed.load(read_state(tmp_path))
    take_steps(resumed, 5, 9)
    assert flat(resumed.state()) == flat(unbroken.state())


def test_only_what_trains_is_in_the_state_and_the_rest_must_be_the_same(language_model: Path, tmp_path: Path) -> None:
    config = load(overrides=[*settings(language_model), "updater.trains=last-1"])
    learner = Learner(config)
    take_steps(learner, 0, 2)
    state = learner.state()
    assert 0 < sum(w.numel() for w in state["updater"]["weights"].values()) < 20_000
    assert not any("embed_tokens" in name or "wte" in name for name in state["updater"]["weights"])
    others = save_tiny_language_model(tmp_path / "other", kind="llama" if "llama" in language_model.name else "gpt2")
    weights = load_file(others / "model.safetensors")
    name = next(name for name in weights if "embed_tokens" in name or "wte" in name)
    weights[name] += 1
    save_file(weights, others / "model.safetensors", metadata={"format": "pt"})
    other = Learner(load(overrides=[*settings(others), "updater.trains=last-1"]))
    state["updater"]["model"] = str(others)
    with pytest.raises(StateError, match=r"the weights of .* are not those that the checkpoint was made with"):
        other.load(state)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["updater.trains=lora", "updater.lora_rank=3"], "the settings of adapters must be what they were"),
        (["updater.objective=classification", "updater.max_tokens=16"], "made with updater.objective: language_model"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_in_one_sentence(
    language_model: Path, tiny_model: Path, more: list[str], said: str
) -> None:
    state = Learner(load(overrides=[*settings(language_model), "updater.trains=lora"])).state()
    model = [f"updater.model={tiny_model}"] if "updater.objective=classification" in more else []
    with pytest.raises(StateError, match=said):
        Learner(load(overrides=[*settings(language_model), *more, *model])).load(state)


@pytest.fixture
def overflowing(tmp_path: Path) -> Config:
    """A learner of a model that cannot bear one word."""
    directory = save_tiny_language_model(tmp_path / "overflowing")
    weights = load_file(directory / "model.safetensors")
    weights["model.embed_tokens.weight"][3 + WORDS.index(OVERFLOWING)] = 3e38
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return load(overrides=[*settings(directory), "events.holdout_ratio=0", "updater.replay_ratio=0"])


def test_a_text_on_which_no_step_can_be_taken_costs_itself_alone_to_the_bit(overflowing: Config) -> None:
    poisoned, clean = Learner(overflowing), Learner(overflowing)
    for first in range(0, 24, 4):
        events = [event(n, f"{WORDS[n % 9]} refund {WORDS[n % 7]}") for n in range(first, first + 4)]
        take(clean, *events)
        bad = event(100 + first, f"late {OVERFLOWING} refund")
        report = take(poisoned, *events[:2], bad, *events[2:])
        assert [(record.offset, reason) for record, reason in report.refused] == [(bad.offset, Reason.NOT_FINITE)]
        assert report.outcomes == {Outcome.TRAINED: 4, Outcome.DEAD_LETTER: 1}
    assert flat(poisoned.updater.state()) == flat(clean.updater.state())


def test_a_held_out_text_at_which_the_model_raises_has_no_cost_and_spoils_no_other(
    make_language_config: MakeConfig,
) -> None:
    learner = Learner(make_language_config("events.holdout_ratio=0"))
    take(learner, event(0))
    fine = learner.updater.encode([event(1), event(2)])
    learner.holdout.extend(fine)
    expected = learner.evaluate()["reference"].figure
    beyond = msgspec.structs.replace(event(3), tokens=np.asarray([10**6], np.int32))
    learner.holdout.extend([beyond])
    found = learner.evaluate()["reference"]
    assert (found.events, found.unpredicted, found.figure) == (3, 1, pytest.approx(expected))
    assert learner.updater.predictable([*fine, beyond]) == [True, True, False]


def test_weights_that_went_astray_refuse_no_text_but_end_learning(make_language_config: MakeConfig) -> None:
    learner = Learner(make_language_config())
    take_steps(learner, 0, 2)
    with torch.no_grad():
        for parameter in learner.updater.model.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(AstrayError, match="the predictions of the model are not finite any more after step 2"):
        take_steps(learner, 2, 4)


def test_the_reference_is_the_first_that_was_held_out_and_stays(make_language_config: MakeConfig) -> None:
    learner = Learner(make_language_config("events.holdout_records=4"))
    take_steps(learner, 0, 100)
    held = learner.state()["holdout"]
    assert (len(held["validation"]), len(held["test"]), len(held["reference"])) == (4, 4, 64)
    assert [one.offset for one in held["reference"]][:3] == sorted(one.offset for one in held["reference"])[:3]
    scores = learner.evaluate()
    assert scores["reference"].events == 64
    assert all(0.1 < score.figure < 2.0 for score in scores.values())


def test_a_change_of_the_texts_is_a_drift(make_language_config: MakeConfig) -> None:
    learner = Learner(make_language_config("events.holdout_ratio=0", "updater.learning_rate=1e-2"))
    rises = []
    for step in range(110):
        words = WORDS[:6] if step < 70 else WORDS[20:40]
        texts = [" ".join(words[(step * k + j) % len(words)] for k in range(1, 7)) for j in range(4)]
        report = take(learner, *(event(4 * step + j, text) for j, text in enumerate(texts)))
        rises += [(step, rise.detector) for rise in report.rises]
    assert {detector for _, detector in rises} == {"loss"}
    assert 70 <= min(step for step, _ in rises) < 100


def test_plain_transformers_loads_what_is_published_with_the_learners_own_bits(
    make_language_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_language_config()
    learner = Learner(config)
    take_steps(learner, 0, 5)
    path = snapshot(learner, config, tmp_path / "snapshots")
    model = AutoModelForCausalLM.from_pretrained(path)
    ids = torch.tensor([[1, 5, 9, 20]])
    assert torch.equal(model.eval()(input_ids=ids).logits, learner.updater.model.eval()(input_ids=ids).logits)
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer("late </s>", add_special_tokens=False)["input_ids"][-1] == 2  # as chat templates need it
    assert tokenizer.model_max_length == 128
    metrics = SnapshotStore(tmp_path / "snapshots").manifest(1)["metrics"]
    assert set(metrics["holdout_bits_per_byte"]) == {"validation", "test", "reference"}
    assert metrics["prequential_bits_per_byte"] == pytest.approx(learner.standing().bits_per_byte)
    assert (metrics["prequential_accuracy"], metrics["holdout_accuracy"]) == (None, {})


def test_it_continues_a_text_the_same_way_each_time_and_as_it_has_learnt(language_model: Path, tmp_path: Path) -> None:
    config = load(overrides=[*settings(language_model), "events.holdout_ratio=0", "updater.learning_rate=1e-2"])
    learner = Learner(config)
    for step in range(60):
        take(learner, *(event(4 * step + j, "late again refund please thanks") for j in range(4)))
    path = snapshot(learner, config, tmp_path / "snapshots")
    model = streamlearn.load_language_model(path)
    assert model.version == 1
    assert model.continue_text("late again").split() == ["refund", "please", "thanks"]
    assert model.continue_text("late again", tokens=1).split() == ["refund"]
    with pytest.raises(StateError, match="it holds a language model, which has no labels"):
        streamlearn.load(path)
    done = command("predict", "--snapshot", str(path), "late again")
    assert (done.returncode, done.stdout) == (0, "late againrefund please thanks\n")


def test_what_is_no_language_model_is_not_loaded_as_one(tiny_model: Path) -> None:
    with pytest.raises(StateError, match="it holds no language model, but a classifier"):
        streamlearn.load_language_model(tiny_model)
    with pytest.raises(ConfigurationError, match="cannot load"):
        Learner(load(overrides=[*settings(tiny_model)]))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["events.labels=[ham, spam]"], "there is no use for events.labels; leave it out"),
        (["updater.experts=tokens", "updater.pooling=native"], "there is no use for updater.experts, updater.pooling"),
        (["updater.regularizer=der"], "too much to keep: take lwf, ewc or l2_sp"),
        (["buffer.policy=class_balanced"], "no use for buffer.policy: class_balanced"),
        (["publisher.snapshots.min_validation_accuracy=0.5"], "no use for publisher.snapshots.min_validation_accuracy"),
        (
            ["updater.objective=classification", "publisher.snapshots.max_validation_bits_per_byte=2"],
            "max_validation_bits_per_byte is for updater.objective: language_model only",
        ),
        (["updater.objective=language_modelling"], "updater.objective: .*'classification' or 'language_model'"),
    ],
)
def test_settings_of_the_other_objective_are_refused_in_one_sentence(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(overrides=["updater.objective=language_model", *overrides])


def test_the_defaults_are_those_of_the_objective_and_what_is_set_counts() -> None:
    updater = load(overrides=["updater.objective=language_model"]).updater
    assert (updater.replay_ratio, updater.max_tokens, updater.trains) == (0.05, 512, "lora")
    assert load(overrides=["updater.objective=language_model", "updater.replay_ratio=1.0"]).updater.replay_ratio == 1.0
    again = Config.model_validate(load(overrides=["updater.objective=language_model"]).model_dump())
    assert again.updater == updater


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["updater.max_tokens=500"], "the model reads at most 128 tokens; set it to 128 or less"),
        (["updater.trains=last-3"], None),  # which is as many as there are
    ],
)
def test_what_a_model_cannot_do_is_said_at_the_start(
    language_model: Path, overrides: list[str], said: str | None
) -> None:
    config = load(overrides=[*settings(language_model), *overrides])
    if said is None:
        Learner(config)
        return
    with pytest.raises(ConfigurationError, match=said):
        Learner(config)


@pytest.mark.parametrize("label", ["null", "[1]", '""', '{"a": 1}', "7"])
def test_an_event_needs_no_label_and_whatever_stands_there_is_not_looked_at(label: str) -> None:
    decode = Decoder(load(overrides=["updater.objective=language_model"]).events, labelled=False).decode
    found = decode(make_record(b'{"text": "late again", "label": ' + label.encode() + b"}"))
    assert isinstance(found, Event)
    assert (found.text, found.label) == ("late again", "")
    assert decode(make_record(b'{"label": "x"}')) is Reason.MISSING_FIELD
    assert decode(make_record(b'{"text": " "}')) is Reason.EMPTY_TEXT


def test_what_is_about_labels_refuses_a_language_model_in_one_sentence() -> None:
    config = load(overrides=["updater.objective=language_model"])
    with pytest.raises(ConfigurationError, match="there are none"):
        evaluate(config, io.BytesIO(b"{}"))
    with pytest.raises(ConfigurationError, match="an OnlineClassifier learns labels"):
        streamlearn.OnlineClassifier("a-model", objective="language_model")


def test_the_gate_rejects_more_bits_than_are_allowed() -> None:
    from streamlearn.publisher.gate import rejection  # noqa: PLC0415

    fine: dict[str, Any] = {"tensors": {}, "validation_accuracy": None, "min_validation_accuracy": 0.0}
    assert rejection(**fine, bits_per_byte=1.2, max_bits_per_byte=1.0) == (
        "its 1.200 bits per byte on the validation hold-out are more than 1.000"
    )
    assert rejection(**fine, bits_per_byte=0.9, max_bits_per_byte=1.0) is None
    assert rejection(**fine, bits_per_byte=None, max_bits_per_byte=1.0) is None
