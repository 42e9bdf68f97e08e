from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamlearn.buffer.base import size_of
from streamlearn.capture import capture_checkpoint
from streamlearn.config import Config
from streamlearn.consumer.queue import arrival
from streamlearn.errors import AstrayError
from streamlearn.events import Event, Outcome, Reason
from streamlearn.learner import Learner
from streamlearn.local.tiny import SPECIAL, WORDS
from streamlearn.reports import MicroBatch
from streamlearn.state import State, first_not_finite
from streamlearn.updater.experts.transformer.backbone import Backbone
from tests.conftest import OVERFLOWING
from tests.unit.builders import flat, learn, make_event, make_record
from tests.unit.conftest import MakeConfig


def final_state(config: Config, batches: list[MicroBatch], *, saved_after: int | None = None) -> State:
    """Learn `batches`, going over to a new learner after so many of them."""
    learner = Learner(config)
    for number, batch in enumerate(batches):
        if number == saved_after:
            state = learner.state()
            learner = Learner(config)
            learner.load(state)
        learn(learner, batch)
    return learner.state()


def test_a_saved_learner_goes_on_with_the_same_bits(make_config: MakeConfig, micro_batches: list[MicroBatch]) -> None:
    config = make_config("buffer.records=9")
    unbroken = flat(final_state(config, micro_batches))
    for saved_after in (1, 5, 11):
        assert flat(final_state(config, micro_batches, saved_after=saved_after)) == unbroken


def admitted(learner: Learner, *events: Event) -> MicroBatch:
    """Return a micro-batch of `events`, as the intake makes it."""
    draft = learner.draft()
    records = [make_record(b"", offset=event.offset) for event in events]
    begin, end = events[0].offset, events[-1].offset + 1
    draft.take(arrival(("t", 0), records, list(events), begin=begin, end=end))
    return draft.batch


@pytest.fixture
def overflowing(make_config: MakeConfig, overflowing_model: Path) -> Config:
    return make_config(f"updater.model={overflowing_model}", "events.holdout_ratio=0", "updater.dropout=0.1")


def poison(number: int, **fields: Any) -> Event:
    return make_event(number, text=f"late {OVERFLOWING} refund", **fields)


def harmless(number: int) -> Event:
    return make_event(number, text=f"{WORDS[number % 9]} refund {WORDS[number % 7]}")


def test_one_text_that_overflows_costs_itself_alone_and_the_others_are_learnt_to_the_bit_as_without_it(
    overflowing: Config,
) -> None:
    updater = overflowing.updater.model_copy(update={"replay_ratio": 0.0})  # how many are replayed is decided before
    config = overflowing.model_copy(update={"updater": updater})
    poisoned, clean = Learner(config), Learner(config)
    for first in range(0, 24, 4):
        events = [harmless(n) for n in range(first, first + 4)]
        learn(clean, admitted(clean, *events))
        bad = poison(100 + first, label=f"only-of-poison-{first}")
        batch = admitted(poisoned, *events[:2], bad, *events[2:])
        report = learn(poisoned, batch)
        assert report.refused == [(batch.records[2], Reason.NOT_FINITE)]
        assert report.outcomes == {Outcome.TRAINED: 4, Outcome.DEAD_LETTER: 1}
        assert [event.id for event in report.learnt] == [event.id for event in events]
    assert list(poisoned.updater.labels) == list(clean.updater.labels)
    ours, theirs = flat(poisoned.state()), flat(clean.state())
    changed = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
    assert changed == {"/counts/dead_letter", "/reasons/not_finite"}


@pytest.mark.parametrize("held_out", [False, True])
def test_a_text_at_which_the_model_raises_is_refused_alone(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, held_out: bool
) -> None:
    learner = Learner(make_config("events.holdout_ratio=0"))
    learn(learner, admitted(learner, *map(make_event, range(4))))
    backbone = learner.updater.backbone
    rows = backbone.model.get_input_embeddings().num_embeddings
    word = len(SPECIAL) + WORDS.index(OVERFLOWING)

    def beyond(texts: Sequence[str]) -> list[Any]:
        return [np.where(ids == word, rows, ids) for ids in Backbone.encode(backbone, texts)]

    monkeypatch.setattr(backbone, "encode", beyond)
    batch = admitted(learner, harmless(4), poison(5), harmless(6))
    if held_out:
        batch.held_out, batch.held_out_records = [batch.fresh.pop(1)], [batch.records.pop(1)]
        batch.outcomes = Counter({Outcome.HELD_OUT: 1, Outcome.TRAINED: 2})
    report = learn(learner, batch)
    assert [(record.offset, reason) for record, reason in report.refused] == [(5, Reason.MODEL_ERROR)] * (not held_out)
    assert report.outcomes == {Outcome.TRAINED: 2, Outcome.HELD_OUT if held_out else Outcome.DEAD_LETTER: 1}
    scores = learner.evaluate().values()
    assert sum(score.events for score in scores) == sum(score.unpredicted for score in scores) == int(held_out)


def test_a_text_on_which_the_tokenizer_raises_is_refused_alone(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(make_config("events.holdout_ratio=0"))
    backbone = learner.updater.backbone

    def strict(texts: Sequence[str]) -> list[Any]:
        for text in texts:
            text.encode()
        return Backbone.encode(backbone, texts)

    monkeypatch.setattr(backbone, "encode", strict)
    report = learn(learner, admitted(learner, harmless(0), make_event(1, text="\ud800"), harmless(2)))
    assert [(record.offset, reason) for record, reason in report.refused] == [(1, Reason.MODEL_ERROR)]
    assert [event.id for event in report.learnt] == ["e0", "e2"]


def test_what_was_refused_may_be_sent_again_with_its_own_id(overflowing: Config) -> None:
    learner = Learner(overflowing)
    learn(learner, admitted(learner, harmless(0), poison(1, label="new")))
    assert learner.admission.state() == {"ids": ["e0"], "labels": ["label-0"]}
    report = learn(learner, admitted(learner, harmless(1), harmless(0)))
    assert report.outcomes == {Outcome.TRAINED: 1, Outcome.DUPLICATE: 1}


def test_a_held_out_text_that_overflows_counts_as_predicted_wrongly_and_stops_nothing(
    make_config: MakeConfig, overflowing_model: Path
) -> None:
    learner = Learner(make_config(f"updater.model={overflowing_model}", "events.holdout_ratio=0.999999"))
    batch = admitted(learner, harmless(1), poison(2))
    assert len(batch.held_out) == 2
    report = learn(learner, batch)
    assert report.outcomes == {Outcome.HELD_OUT: 2}
    learn(learner, MicroBatch(fresh=[harmless(3)], records=[make_record(b"")], positions={("t", 0): 4}))
    scores = learner.evaluate().values()
    assert (sum(score.events for score in scores), sum(score.unpredicted for score in scores)) == (2, 1)
    capture_checkpoint(learner)


def test_replayed_events_that_a_step_cannot_bear_any_more_are_forgotten_and_the_fresh_ones_learnt(
    overflowing: Config,
) -> None:
    learner = Learner(overflowing)
    learn(learner, admitted(learner, *map(harmless, range(4))))
    learner.buffer.extend(learner.updater.encode([poison(4), poison(5)]))
    reports = [learn(learner, admitted(learner, *map(harmless, range(first, first + 4)))) for first in range(8, 40, 4)]
    assert all(len(report.learnt) == 4 and not report.refused for report in reports)
    assert OVERFLOWING not in " ".join(event.text for event in learner.buffer.state()["events"])
    assert len(learner.buffer) == 36


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_where_theta_itself_predicts_nothing_no_record_is_to_blame(
    make_config: MakeConfig, micro_batches: list[MicroBatch], optimizer: str
) -> None:
    astray = [
        "updater.learning_rate=1e38",
        "updater.head_learning_rate=1e38",
        "updater.warmup_steps=0",
        "updater.weight_decay=0",
    ]
    learner = Learner(make_config(*astray, f"updater.optimizer={optimizer}"))
    learn(learner, micro_batches[0])
    finite = first_not_finite(learner.updater.state()["transformer"]["weights"]) is None
    assert finite == (optimizer == "sgd")
    before = flat(learner.admission.state()), dict(learner.positions), dict(learner.counts)
    with pytest.raises(AstrayError):
        learn(learner, micro_batches[1])
    assert (flat(learner.admission.state()), dict(learner.positions), dict(learner.counts)) == before
    with pytest.raises(AstrayError):
        capture_checkpoint(learner)


def test_with_no_label_known_the_hold_out_is_evaluated_and_nothing_is_correct(make_config: MakeConfig) -> None:
    learner = Learner(make_config("events.holdout_ratio=0.999999"))
    assert not learner.presentable
    learn(learner, admitted(learner, *map(make_event, range(8))))
    assert {score.accuracy for score in learner.evaluate().values() if score.events} == {0.0}
    assert not learner.presentable
    learn(learner, MicroBatch(fresh=[make_event(9)], records=[make_record(b"")], positions={("t", 0): 10}))
    assert learner.presentable
    assert list(learner.updater.labels) == ["label-0"]  # the held-out ones were never trained on
    assert all(score.accuracy is not None for score in learner.evaluate().values() if score.events)


@pytest.mark.parametrize(("ratio", "size"), [(0.5, 1), (0.1, 3), (1.7, 1), (0.29, 4)])
def test_in_the_long_run_the_replay_ratio_holds_whatever_the_micro_batch(
    make_config: MakeConfig, ratio: float, size: int
) -> None:
    learner = Learner(make_config(f"updater.replay_ratio={ratio}", "events.holdout_ratio=0"))
    learner.buffer.extend(learner.updater.encode([make_event(n) for n in range(900, 920)]))
    fresh = replayed = 0
    while fresh < 24:
        report = learn(learner, admitted(learner, *map(harmless, range(fresh, fresh + size))))
        fresh, replayed = fresh + len(report.learnt), replayed + report.replayed
        assert replayed == math.floor(fresh * Fraction(str(ratio)))


def test_replayed_events_come_from_the_buffer_by_the_ratio(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    learner = Learner(make_config("updater.replay_ratio=1.5"))
    assert [learn(learner, batch).replayed for batch in micro_batches[:4]] == [0, 4, 6, 6]


def test_a_micro_batch_without_fresh_events_moves_the_positions_and_not_the_weights(make_config: MakeConfig) -> None:
    learner = Learner(make_config())
    before = flat(learner.updater.state())
    report = learn(learner, MicroBatch(positions={("t", 3): 9}))
    assert report.result is None
    assert learner.positions == {("t", 3): 9}
    assert flat(learner.updater.state()) == before


def test_after_a_change_of_max_tokens_what_is_remembered_is_encoded_again(make_config: MakeConfig) -> None:
    before = Learner(make_config("updater.max_tokens=6", "events.holdout_ratio=0.3"))
    learn(before, admitted(before, *(make_event(n, text=" ".join(WORDS[n : n + 9])) for n in range(16))))
    after = Learner(make_config("updater.max_tokens=4", "events.holdout_ratio=0.3"))
    after.load(before.state())
    state = after.state()
    remembered = [*state["buffer"]["events"], *state["holdout"]["validation"], *state["holdout"]["test"]]
    assert len(remembered) == 16
    assert {len(event.tokens) for event in remembered} == {4}
    assert after.buffer.held_bytes == sum(map(size_of, state["buffer"]["events"]))
    older = before.state()
    del older["updater"]["encoding"]  # as of a checkpoint that does not say
    after.load(older)
    assert {len(event.tokens) for event in after.state()["buffer"]["events"]} == {6}


def test_two_learners_of_one_configuration_in_one_process_have_the_same_bits(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    config = make_config("updater.dropout=0.3")
    alone = flat(final_state(config, micro_batches))
    outside = torch.get_rng_state()
    one, other = Learner(config), Learner(config)
    for batch in micro_batches:
        learn(one, batch)
        torch.rand(3)  # others draw from torch's own generator, and it is none of theirs
        learn(other, batch)
    torch.set_rng_state(outside)
    assert flat(one.state()) == flat(other.state()) == alone
    learn(Learner(config), micro_batches[0])
    assert torch.equal(torch.get_rng_state(), outside)


def test_dead_letters_are_counted_by_reason_and_a_saved_learner_knows_them(make_config: MakeConfig) -> None:
    config = make_config("events.holdout_ratio=0")
    learner = Learner(config)
    draft = learner.draft()
    outcomes: list[Event | Reason] = [Reason.NOT_JSON, make_event(0), Reason.TOMBSTONE, Reason.NOT_JSON]
    outcomes.append(make_event(1, label=7))  # the first label is a text
    records = [make_record(b"", offset=offset) for offset in range(len(outcomes))]
    draft.take(arrival(("t", 0), records, outcomes, begin=0, end=len(records)))
    learn(learner, draft.batch)
    assert learner.reasons == {"not_json": 2, "tombstone": 1, "label_type": 1}
    assert learner.counts["dead_letter"] == sum(learner.reasons.values())
    again, older = Learner(config), learner.state()
    again.load(learner.state())
    assert again.reasons == learner.reasons
    del older["reasons"]
    again.load(older)
    assert not again.reasons


def test_where_one_label_is_all_that_was_met_the_next_one_is_no_drift(make_config: MakeConfig) -> None:
    learner = Learner(make_config("events.holdout_ratio=0", "updater.replay_ratio=0"))
    labels = ["label-0"] * 96 + [f"label-{n * 7 % 2}" for n in range(96)]
    events = [make_event(n, label=label) for n, label in enumerate(labels)]
    rises = []
    for first in range(0, len(events), 16):
        rises += learn(learner, admitted(learner, *events[first : first + 16])).rises
    assert rises == []
    assert learner.detectors["loss"].mean > 0.2  # from there on they look
