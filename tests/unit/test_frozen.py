"""What is frozen runs once: the same bits whether they were kept or made again, and the same model as without it."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from streamlearn.config import load
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.reports import MicroBatch
from streamlearn.updater import Updater
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.mean_pooled import MeanPooledForSequenceClassification
from tests import zoo
from tests.unit.builders import flat, learn, make_event
from tests.unit.conftest import MakeConfig
from tests.unit.test_learner import final_state

LAST = "updater.trains=last-1"


def backbone(make_config: MakeConfig, *overrides: str) -> Backbone:
    return Backbone(make_config(LAST, *overrides).updater, [])


def test_what_is_kept_is_bounded_and_what_went_is_made_again_with_the_same_bits(make_config: MakeConfig) -> None:
    frozen, texts = backbone(make_config).frozen, backbone(make_config).encode([make_event(n).text for n in range(9)])
    frozen.keep_within(2**20)
    kept = [(frozen.embed(text), frozen.states(text)) for text in texts]
    assert all(frozen.states(text) is states for text, (_, states) in zip(texts, kept, strict=True))
    frozen.keep_within(3000)
    again = [(frozen.embed(text), frozen.states(text)) for text in texts]
    assert frozen.states(texts[0]) is not kept[0][1]
    for (embedding, states), (other, others) in zip(kept, again, strict=True):
        assert torch.equal(embedding.last, other.last)
        assert torch.equal(embedding.middle, other.middle)
        assert torch.equal(states, others)
        assert states.dtype == torch.float32
        del states, others
    frozen.keep_within(0)
    gc.collect()
    assert not frozen._kept
    assert frozen._held == 0


def test_room_for_what_is_frozen_changes_no_bit(make_config: MakeConfig, micro_batches: list[MicroBatch]) -> None:
    mixed = ["updater.experts=tuned", LAST, "buffer.records=9"]
    roomy, narrow = (final_state(make_config(*mixed, f"buffer.bytes={room}"), micro_batches) for room in (2**28, 6_000))
    assert len(roomy["buffer"]["events"]) == len(narrow["buffer"]["events"])
    assert flat(narrow["updater"]) == flat(roomy["updater"])


def test_buffered_events_come_before_what_is_kept_of_their_texts(make_config: MakeConfig) -> None:
    learner = Learner(make_config("updater.experts=tuned", LAST, "events.holdout_ratio=0", "buffer.bytes=40000"))
    for first in range(0, 40, 4):
        events = [make_event(n) for n in range(first, first + 4)]
        learn(learner, MicroBatch(fresh=events, records=[], positions={("t", 0): first + 4}))
        frozen = learner.updater.backbone.frozen
        assert frozen.bytes == 40_000 - learner.buffer.held_bytes
        assert frozen._held <= frozen.bytes


@pytest.mark.parametrize(
    ("kind", "trains"),
    [(kind, "last-1") for kind in ("bert", "distilbert", "roberta", "xlnet", "gpt2", "llama", "t5", "bart", "fnet")]
    + [("deberta-v2", "head"), ("longformer", "last-1"), ("gpt2", "head")],
)
def test_layers_that_are_passed_by_learn_what_they_would_have_learnt(tmp_path: Path, kind: str, trains: str) -> None:
    model = zoo.save(kind, tmp_path)
    settings = ["updater.max_tokens=32", "updater.warmup_steps=0", "updater.learning_rate=0.002"]
    settings.append(f"updater.trains={trains}")
    config = load(overrides=[f"updater.model={model}", "updater.experts=[transformer]", *settings])
    passing, running = Updater(config), Updater(config)
    assert passing.transformer is not None
    assert running.transformer is not None
    elsewhere = {"t5", "bart", "xlnet"}  # decoders read what an encoder makes; XLNet's states are turned about
    elsewhere |= {"deberta-v2", "longformer"}  # which put a second value beside the states; which pads by itself
    assert (passing.transformer.bypass is None) == (kind in elsewhere)
    if running.transformer.bypass:
        running.transformer.bypass.remove()
        running.transformer.forward._bypass = None
    for step in range(12):
        events: list[Event] = passing.encode([make_event(n) for n in range(4 * step, 4 * step + 4)])
        one, other = passing.step(events), running.step(events)
        assert not one.refused
        assert one.losses.tolist() == pytest.approx(other.losses.tolist(), rel=1e-3, abs=1e-4)


def test_a_new_head_reads_the_mean_and_one_that_was_trained_stays(tiny_model: Path, tmp_path: Path) -> None:
    first = Updater(load(overrides=[f"updater.model={tiny_model}", "events.labels=[a, b]"]))
    model = first.backbone.model
    assert isinstance(model, MeanPooledForSequenceClassification)
    (short,) = first.encode([make_event(0)])
    assert short.tokens is not None
    ids = torch.from_numpy(short.tokens.astype(np.int64))[None]
    mean = model.body(input_ids=ids).last_hidden_state[0].mean(0)
    torch.testing.assert_close(model(input_ids=ids).logits[0], model.classifier(mean))
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.long)], 1)
    mask = (torch.arange(padded.shape[1]) < ids.shape[1]).long()[None]
    torch.testing.assert_close(model(input_ids=padded, attention_mask=mask).logits, model(input_ids=ids).logits)
    model.config.id2label = {0: "a", 1: "b"}
    model.save_pretrained(tmp_path)
    first.backbone.tokenizer.save_pretrained(tmp_path)
    again = Updater(load(overrides=[f"updater.model={tmp_path}", "events.labels=[a, b, c]"]))
    assert isinstance(again.backbone.model, MeanPooledForSequenceClassification)
    assert list(again.labels) == ["a", "b", "c"]
    assert torch.equal(again.backbone.model.classifier.weight[:2], model.classifier.weight)
    native = Updater(load(overrides=[f"updater.model={tiny_model}", "updater.pooling=native"])).backbone.model
    assert type(native).__name__ == "BertForSequenceClassification"
