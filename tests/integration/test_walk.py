"""One event's way: from a real producer through a real broker to a snapshot that anybody loads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
import transformers

import streamlearn
from streamlearn.config import Config
from streamlearn.consumer.client import create_topic, partition_count
from streamlearn.events import Event, Reason
from streamlearn.learner import Learner
from streamlearn.local.feed import POISON, read_dead_letters
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.updater.features import Encoded
from tests.integration.learner import LearnerProcess, event, held_out, learnt, send, surviving_state, wait_until


def test_every_record_sent_is_trained_held_out_refused_or_a_duplicate(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    poison = [value for value, _ in POISON]
    send(config, [*(event(n) for n in range(100)), *poison, event(3), *(event(n) for n in range(100, 200))])
    learner = start_learner()
    total = 200 + len(poison) + 1
    learner.wait_for("streamlearn_steps_total", 1)

    def dealt_with() -> float:
        outcomes = ("trained", "held_out", "dead_letter", "duplicate")
        return sum(learner.metric("streamlearn_events_total", outcome=outcome) for outcome in outcomes)

    wait_until(lambda: dealt_with() == total, f"{total} records dealt with")
    assert learner.terminate() == 0
    state = surviving_state(config.publisher.directory)
    assert state["counts"]["dead_letter"] == len(poison)
    assert state["counts"]["duplicate"] == 1
    assert state["positions"] == [[config.kafka.topic, 0, total]]
    expected = [(0, offset) for offset in range(total) if not 100 <= offset <= 100 + len(poison)]
    assert sorted(learnt(state) + held_out(state)) == expected


def test_a_refused_record_is_in_the_dead_letter_topic_byte_for_byte_with_its_reason_and_source(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [value for pair in ((event(n), value) for n, (value, _) in enumerate(POISON)) for value in pair])
    learner = start_learner()
    learner.wait_for("streamlearn_events_total", len(POISON), outcome="dead_letter")
    assert learner.terminate() == 0
    letters = read_dead_letters(config.kafka, len(POISON))
    assert letters == {2 * n + 1: (value, reason.value) for n, (value, reason) in enumerate(POISON)}
    assert Counter(reason for _, reason in letters.values()) == Counter(reason.value for _, reason in POISON)


def test_a_missing_dead_letter_topic_is_created(config: Config, start_learner: Callable[..., LearnerProcess]) -> None:
    send(config, [event(n) for n in range(20)])
    learner = start_learner()
    learner.wait_for("streamlearn_steps_total", 1)
    assert partition_count(config.kafka, config.kafka.dead_letter_topic) == 1


def test_a_snapshot_gives_the_probabilities_of_the_learner_and_its_transformer_those_of_its_own(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [event(n) for n in range(100)])
    learner = start_learner()
    learner.wait_for("streamlearn_steps_total", 5)
    assert learner.terminate() == 0
    store = SnapshotStore(config.publisher.directory / "snapshots")
    path = store.directory / "latest"
    assert store.verify(store.resolve("latest"))["step"] == surviving_state(config.publisher.directory)["step"]
    continued = Learner(config)
    continued.load(surviving_state(config.publisher.directory))
    texts = ["late refund please", "moon launch orbit"]
    encoded = transformers.AutoTokenizer.from_pretrained(path)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = transformers.AutoModelForSequenceClassification.from_pretrained(path)(**encoded).logits
    events = [Event(text, "label-0", "", 0.0, "t", 0, 0) for text in texts]
    read = continued.updater.encode(events)
    transformer = continued.updater.transformer
    assert transformer
    alone = transformer.predict(Encoded.of(read, frozenset()))
    torch.testing.assert_close(logits.log_softmax(-1), alone, rtol=1e-5, atol=1e-6)
    predictor = streamlearn.load(config.publisher.directory)
    mixed = continued.updater.log_probabilities(read).exp().float().numpy()
    assert predictor.predict(texts)[1].tobytes() == mixed.tobytes()
    assert set(predictor.labels) == {"label-0", "label-1", "label-2"}
    classify = transformers.pipeline("text-classification", model=str(path))
    assert classify(texts[0])[0]["label"] in {"label-0", "label-1", "label-2"}


def test_order_within_each_partition_is_kept_and_positions_cover_all_of_them(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    topic = f"{config.kafka.topic}-three"
    create_topic(config.kafka, topic, partitions=3)
    wide = config.model_copy(update={"kafka": config.kafka.model_copy(update={"topic": topic})})
    send(wide, [event(n) for n in range(240)], partitions=3)
    learner = start_learner(f"kafka.topic={topic}", "events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", 240, outcome="trained")
    assert learner.terminate() == 0
    state = surviving_state(config.publisher.directory)
    assert sorted(state["positions"]) == [[topic, partition, 80] for partition in range(3)]
    for partition in range(3):
        offsets = [e.offset for e in state["buffer"]["events"] if e.partition == partition]
        assert offsets == list(range(80))


def test_a_label_met_in_mid_stream_grows_the_head(config: Config, start_learner: Callable[..., LearnerProcess]) -> None:
    send(config, [event(n) for n in range(60)] + [event(n, label="late-comer") for n in range(60, 120)])
    learner = start_learner("events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", 120, outcome="trained")
    assert learner.terminate() == 0
    manifest = SnapshotStore(config.publisher.directory / "snapshots").path(
        SnapshotStore(config.publisher.directory / "snapshots").resolve("latest")
    )
    labels = transformers.AutoConfig.from_pretrained(manifest).id2label
    assert labels == {0: "label-0", 1: "label-1", 2: "label-2", 3: "late-comer"}


def test_a_label_outside_a_closed_list_is_refused(config: Config, start_learner: Callable[..., LearnerProcess]) -> None:
    send(config, [event(n) for n in range(30)])
    learner = start_learner("events.labels=[label-0, label-1]", "events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", 20, outcome="trained")
    learner.wait_for("streamlearn_dead_letters_total", 10, reason=Reason.UNKNOWN_LABEL.value)
