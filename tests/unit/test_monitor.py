from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from streamlearn.config import Drift
from streamlearn.learner.evaluation.drift import RiseDetector
from streamlearn.learner.evaluation.holdout import HoldOut
from streamlearn.learner.evaluation.prequential import PrequentialAccuracy
from streamlearn.monitor.metrics import Metrics
from tests.unit.builders import make_event

CONTRACT = {
    "events_total": {"outcome"},
    "dead_letters_total": {"reason"},
    "steps_total": set(),
    "steps_skipped_total": {"reason"},
    "replayed_events_total": set(),
    "loss_sum_total": set(),
    "drift_detections_total": {"detector"},
    "publishes_total": {"outcome"},
    "checkpoints_total": {"outcome"},
    "rebalances_total": set(),
    "predictions_correct_total": set(),
    "expert_dropped_total": {"expert", "reason"},
    "expert_loss": {"expert"},
    "expert_weight": {"expert"},
    "consumer_lag_records": {"topic", "partition"},
    "buffer_records": set(),
    "buffer_capacity_records": set(),
    "loss": set(),
    "learning_rate": set(),
    "gradient_norm": set(),
    "prequential_accuracy_ratio": set(),
    "label_recall_ratio": {"label"},
    "holdout_accuracy_ratio": {"split", "role"},
    "perplexity": set(),
    "bits_per_byte": set(),
    "holdout_bits_per_byte": {"split", "role"},
    "drift_score": {"detector"},
    "kafka_up": set(),
    "active": set(),
    "paused": set(),
    "snapshot_version": set(),
    "last_event_timestamp_seconds": set(),
    "last_step_timestamp_seconds": set(),
    "last_checkpoint_timestamp_seconds": set(),
    "last_commit_timestamp_seconds": set(),
    "last_publish_timestamp_seconds": set(),
    "heartbeat_timestamp_seconds": set(),
    "step_duration_seconds_count": set(),
    "poll_duration_seconds_count": set(),
    "checkpoint_duration_seconds_count": set(),
    "publish_duration_seconds_count": set(),
    "event_age_at_step_seconds_count": set(),
    "publish_stall_seconds_count": set(),
    "build_info": {"version", "python", "torch", "transformers"},
}


def test_the_series_are_those_of_the_contract() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.set_lag({("t", 0): 1})
    metrics.set_recall({"spam": 0.5})
    metrics.evaluated("candidate", {"validation": 0.5, "test": None})
    metrics.drift_score.labels("loss").set(0)
    metrics.expert("softmax", weight=0.5, loss=1.0)
    seen: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name.startswith("streamlearn_") and not sample.name.endswith(("_created", "_bucket", "_sum")):
                seen[sample.name.removeprefix("streamlearn_")] = set(sample.labels)
    metrics = Metrics(CollectorRegistry(), labelled=False)
    metrics.evaluated("candidate", {"validation": 0.9})
    of_a_language_model = {
        sample.name.removeprefix("streamlearn_"): set(sample.labels)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "streamlearn_holdout_bits_per_byte"
    }
    assert seen | of_a_language_model == CONTRACT


def test_known_label_values_start_at_zero() -> None:
    text = generate_latest(Metrics(CollectorRegistry()).registry).decode()
    for series in (
        'events_total{outcome="duplicate"}',
        'dead_letters_total{reason="not_json"}',
        'publishes_total{outcome="rejected"}',
        'checkpoints_total{outcome="failed"}',
        'drift_detections_total{detector="error"}',
        'steps_skipped_total{reason="not_finite"}',
    ):
        assert f"streamlearn_{series} 0.0" in text


def test_the_lag_of_a_revoked_partition_disappears() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.set_lag({("t", 0): 3, ("t", 1): 4})
    metrics.set_lag({("t", 1): 5})
    text = generate_latest(metrics.registry).decode()
    assert 'lag_records{partition="0"' not in text
    assert 'lag_records{partition="1",topic="t"} 5.0' in text


def test_the_recall_of_a_label_that_has_no_more_events_disappears() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.set_recall({"ham": 0.5, "spam": 0.25})
    metrics.set_recall({'sp"am\n': 0.75, "spam": 1.0})
    text = generate_latest(metrics.registry).decode()
    assert re.findall(r"^streamlearn_label_recall_ratio(.*)$", text, re.MULTILINE) == [
        '{label="spam"} 1.0',
        r'{label="sp\"am\n"} 0.75',
    ]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 20), st.integers(0, 60))
def test_prequential_accuracy_is_that_of_the_window_also_after_a_restart(
    hits: list[bool], window: int, broken_at: int
) -> None:
    accuracy = PrequentialAccuracy(window)
    accuracy.update(hits[:broken_at])
    restored = PrequentialAccuracy(window)
    restored.load(accuracy.state())
    restored.update(hits[broken_at:])
    last = hits[-window:]
    assert restored.value == pytest.approx(sum(last) / len(last) if last else float("nan"), nan_ok=True)


def signal(seed: int, *stretches: tuple[int, float]) -> list[float]:
    generator = random.Random(seed)
    return [float(generator.random() < mean) for length, mean in stretches for _ in range(length)]


@pytest.mark.parametrize("seed", range(10))
def test_a_rise_is_detected_soon_and_a_fall_is_none(seed: int) -> None:
    assert RiseDetector(Drift()).update(signal(seed, (800, 0.7), (800, 0.1))) == []
    rises = RiseDetector(Drift()).update(signal(seed, (800, 0.1), (400, 0.5)))
    assert rises
    assert 800 <= rises[0] < 1000


def test_a_restored_detector_detects_at_the_same_places() -> None:
    values = signal(1, (500, 0.1), (300, 0.6), (500, 0.1), (300, 0.7))
    unbroken = RiseDetector(Drift())
    expected = unbroken.update(values)
    assert len(expected) >= 2
    for broken_at in (0, 100, expected[0], expected[0] + 1, 900):
        before, after = RiseDetector(Drift()), RiseDetector(Drift())
        found = before.update(values[:broken_at])
        after.load(before.state())
        assert found + [broken_at + index for index in after.update(values[broken_at:])] == expected


def test_state_of_another_river_starts_the_detector_anew() -> None:
    detector = RiseDetector(Drift())
    detector.update([1.0] * 100)
    fresh = RiseDetector(Drift())
    fresh.load(detector.state() | {"river": "0.0.1"})
    assert fresh.mean != fresh.mean


def test_the_hold_out_keeps_the_newest_of_both_splits_and_measures_each() -> None:
    holdout = HoldOut(records=10)
    holdout.extend(make_event(n, label=n % 2, text=f"text {n}") for n in range(200))
    state = holdout.state()
    assert {len(events) for events in state.values()} == {10}
    assert not {e.text for e in state["validation"]} & {e.text for e in state["test"]}
    restored = HoldOut(records=10)
    restored.load(state)
    scores = restored.evaluate(lambda events: [0 for _ in events])
    assert scores["test"].accuracy == sum(event.label == 0 for event in state["test"]) / 10
    assert [score.accuracy for score in HoldOut(records=10).evaluate(lambda _: []).values()] == [None, None]


def test_what_cannot_be_predicted_is_not_correct_and_is_counted() -> None:
    holdout = HoldOut(records=10)
    holdout.extend(make_event(n, label=0, text=f"text {n}") for n in range(200))
    scores = holdout.evaluate(lambda events: [None, *(0 for _ in events[1:])])
    assert [(score.accuracy, score.unpredicted) for score in scores.values()] == [(0.9, 1), (0.9, 1)]
