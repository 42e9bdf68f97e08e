"""What the monitor is told is what it shows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from streamlearn.config import load
from streamlearn.events import Outcome, Reason
from streamlearn.monitor.logs import START
from streamlearn.monitor.monitor import Monitor
from streamlearn.reports import ExpertReport, MicroBatch, Rise, Standing, StepReport, StepResult
from tests.unit.builders import make_event, make_record

STANDING = Standing(
    step=3,
    version=2,
    positions={("t", 0): 12},
    counts=Counter(trained=10, dead_letter=2),
    reasons=Counter(not_json=2),
    accuracy=0.75,
    buffer_records=8,
    buffer_capacity=100,
    by_label={"spam": 5, "ham": 3},
    drift_means={"loss": 0.25},
)


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(load(overrides=["monitor.port=0"]))


def shown(monitor: Monitor, name: str, **labels: str) -> float | None:
    return monitor.metrics.registry.get_sample_value(f"streamlearn_{name}", labels)


def report(*refused: Reason, learnt: int = 2) -> StepReport:
    fresh = [make_event(n) for n in range(learnt)]
    result = StepResult(np.array([True, False][:learnt]), np.array([0.5, 1.5][:learnt], np.float32), 1.0, 2.0, 0.1)
    return StepReport(
        step=3,
        batch=MicroBatch(fresh=[make_event(n) for n in range(learnt + len(refused))]),
        outcomes=Counter({Outcome.TRAINED: learnt, Outcome.DEAD_LETTER: len(refused)}),
        refused=[(make_record(b""), reason) for reason in refused],
        result=result,
        learnt=fresh,
        replayed=1,
        rises=[Rise("loss", fresh[0])] if learnt else [],
    )


def test_a_step_is_shown_as_series_on_the_page_and_as_the_place_of_the_log(monitor: Monitor) -> None:
    assert monitor.place() == START
    monitor.stepped(STANDING, report(), 0.2)
    assert monitor.place() == {"step": 3, "version": 2, "positions": {"t/0": 12}}
    assert [shown(monitor, name) for name in ("steps_total", "loss_sum_total", "predictions_correct_total")] == [
        1,
        2,
        1,
    ]
    assert shown(monitor, "step_duration_seconds_sum") == pytest.approx(0.2)
    assert shown(monitor, "prequential_accuracy_ratio") == 0.75
    assert shown(monitor, "drift_score", detector="loss") == 0.25
    assert shown(monitor, "drift_detections_total", detector="loss") == 1
    view = monitor.live.view()
    assert (view["step"], view["counts"]["trained"], view["latest"]) == (3, 10, {"loss": 1.0, "accuracy": 0.75})
    assert [drift["detector"] for drift in view["drifts"]] == ["loss"]


def test_a_step_that_was_not_applied_is_counted_by_its_reason_and_said_without_text(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    monitor.stepped(STANDING, report(Reason.NOT_FINITE, learnt=0), 0.2)
    assert shown(monitor, "steps_total") == 0
    assert shown(monitor, "steps_skipped_total", reason="not_finite") == 1
    assert shown(monitor, "events_total", outcome="dead_letter") == 1
    assert "step 3: 0 events learnt, refused as dead letters: 1 not_finite" in caplog.text


def mixed(experts: dict[str, float], dropped: dict[str, str] | None = None, *, learnt: int = 2) -> StepReport:
    """Return the report of a step with the losses of `experts`, each of weight 0.5, and those that were `dropped`."""
    result = replace(
        report(learnt=learnt).result or pytest.fail("there is one"),
        experts={name: ExpertReport(weight=0.5, loss=loss) for name, loss in experts.items()},
        dropped=dropped or {},
    )
    return replace(report(learnt=learnt), result=result)


def test_each_expert_is_shown_with_its_weight_and_the_mean_of_its_losses(monitor: Monitor) -> None:
    monitor.stepped(STANDING, mixed({"softmax": 1.0, "long_memory": 0.25}), 0.2)
    monitor.stepped(STANDING, mixed({"softmax": 2.5, "long_memory": 0.25}, learnt=1), 0.2)
    assert shown(monitor, "expert_loss", expert="softmax") == pytest.approx((2 * 1.0 + 2.5) / 3)
    assert shown(monitor, "expert_loss", expert="long_memory") == pytest.approx(0.25)
    assert shown(monitor, "expert_weight", expert="softmax") == 0.5
    for reason in ("not_finite", "runaway"):
        assert shown(monitor, "expert_dropped_total", expert="softmax", reason=reason) == 0
    first, second = monitor.live.view()["experts"]
    assert (first["name"], second["name"]) == ("softmax", "long_memory")
    assert second == {"name": "long_memory", "weight": 0.5, "loss": 0.25, "reason": None, "since": None}


def test_the_mean_loss_of_an_expert_follows_the_last_events_once_the_window_is_full() -> None:
    monitor = Monitor(load(overrides=["monitor.port=0", "monitor.accuracy_window=10"]))
    for loss in [8.0] * 100 + [1.0] * 30:
        monitor.stepped(STANDING, mixed({"softmax": loss}), 0.2)
    assert shown(monitor, "expert_loss", expert="softmax") == pytest.approx(1 + 7 * 0.8**30)


def test_a_micro_batch_of_more_events_than_the_window_is_its_own_mean() -> None:
    monitor = Monitor(load(overrides=["monitor.port=0", "monitor.accuracy_window=1"]))
    for loss in (8.0, 1.0):
        monitor.stepped(STANDING, mixed({"softmax": loss}), 0.2)
    assert shown(monitor, "expert_loss", expert="softmax") == 1.0


def test_an_expert_that_is_left_out_is_counted_at_each_step_and_shown_with_since_when_until_it_is_back(
    monitor: Monitor,
) -> None:
    monitor.stepped(STANDING, mixed({"softmax": 1.0, "transformer": 1.0}), 0.2)
    monitor.stepped(STANDING, mixed({"softmax": 1.0}, {"transformer": "runaway"}), 0.2)
    since = monitor.live.view()["experts"][1]["since"]
    monitor.stepped(STANDING, mixed({"softmax": 1.0}, {"transformer": "not_finite"}), 0.2)
    _, out = monitor.live.view()["experts"]
    assert out == {"name": "transformer", "weight": 0.0, "loss": 1.0, "reason": "not_finite", "since": since}
    assert since > 1.7e9
    assert shown(monitor, "expert_weight", expert="transformer") == 0
    assert shown(monitor, "expert_loss", expert="transformer") == 1.0
    monitor.stepped(STANDING, mixed({"softmax": 1.0, "transformer": 3.0}), 0.2)
    _, back = monitor.live.view()["experts"]
    assert (back["weight"], back["loss"], back["reason"], back["since"]) == (0.5, 2.0, None, None)
    for reason in ("runaway", "not_finite"):
        assert shown(monitor, "expert_dropped_total", expert="transformer", reason=reason) == 1
        assert shown(monitor, "expert_dropped_total", expert="softmax", reason=reason) == 0


def test_a_loss_that_is_not_finite_moves_no_mean_and_json_can_carry_an_expert_that_has_none(monitor: Monitor) -> None:
    monitor.stepped(STANDING, mixed({"softmax": math.nan}, {"softmax": "not_finite"}), 0.2)
    assert shown(monitor, "expert_loss", expert="softmax") is None
    (out,) = json.loads(json.dumps(monitor.live.view(), allow_nan=False))["experts"]
    assert (out["weight"], out["loss"], out["reason"]) == (0.0, None, "not_finite")
    monitor.stepped(STANDING, mixed({"softmax": 2.0}), 0.2)
    assert shown(monitor, "expert_loss", expert="softmax") == 2.0


def test_an_expert_that_is_left_out_of_a_step_that_was_not_applied_is_counted_too(monitor: Monitor) -> None:
    monitor.stepped(STANDING, mixed({}, {"transformer": "not_finite"}, learnt=0), 0.2)
    assert shown(monitor, "steps_total") == 0
    assert shown(monitor, "expert_dropped_total", expert="transformer", reason="not_finite") == 1


def test_what_a_checkpoint_left_is_shown_with_the_newest_snapshot(monitor: Monitor) -> None:
    figures = {"holdout_accuracy": {"test": 0.5}}
    snapshot = {"version": 2, "created": 1.7e9, "events": {"trained": 8}, "metrics": figures}
    monitor.restored(STANDING, snapshot)
    assert monitor.place()["step"] == 3
    assert (shown(monitor, "snapshot_version"), shown(monitor, "buffer_records")) == (2, 8)
    assert shown(monitor, "holdout_accuracy_ratio", split="test", role="champion") == 0.5
    assert monitor.live.view()["dead_letters"]["reasons"] == {"not_json": 2}
    assert monitor.live.view()["snapshot"] == {"version": 2, "events": 8, "at": 1.7e9}


def test_what_a_checkpoint_says_of_the_past_is_shown_and_gone_on_from(monitor: Monitor) -> None:
    monitor.stepped(STANDING, predicted(mixed({"softmax": 1.0, "transformer": 1.0}, {"averaged": "runaway"})), 0.2)
    monitor.explained(make_record(b"", offset=11), Reason.NOT_JSON, "")
    after = Monitor(load(overrides=["monitor.port=0"]))
    after.restored(STANDING, None, monitor.history())
    assert after.live.view() | {"now": 0} == monitor.live.view() | {"now": 0}
    assert after.live.view()["predictions"]["events"] == 2
    for one in (monitor, after):
        one.stepped(STANDING, mixed({"softmax": 3.0, "transformer": 1.0}, {"averaged": "runaway"}), 0.2)
        assert shown(one, "expert_loss", expert="softmax") == 2.0
    assert after.live.view()["experts"] == monitor.live.view()["experts"]


def test_what_the_page_shows_of_experts_does_not_change_under_who_looks_on_after_a_restart(monitor: Monitor) -> None:
    told = mixed({"softmax": 1.0, "transformer": 1.0}, {})
    monitor.stepped(STANDING, told, 0.2)
    after = Monitor(load(overrides=["monitor.port=0"]))
    after.restored(STANDING, None, monitor.history())
    before = after.live.view()["experts"]
    after._experts.stepped(mixed({"softmax": 3.0}, {"averaged": "runaway"}).result, now=1.0)
    assert after.live.view()["experts"] == before


def test_a_past_that_cannot_be_written_costs_no_checkpoint_and_is_said_once(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    monitor.stepped(STANDING, report(), 0.2)
    whole = monitor.history()
    monitor.live.learnt(math.nan)  # which no JSON holds
    assert (monitor.history(), monitor.history()) == (b"", b"")
    assert whole
    assert caplog.text.count("checkpoints are without what the page shows of the past") == 1


def test_of_a_learner_without_a_checkpoint_that_begins_again_nothing_is_shown_twice(monitor: Monitor) -> None:
    monitor.stepped(STANDING, predicted(mixed({"softmax": 1.0, "transformer": 1.0}, {})), 0.2)
    monitor.explained(make_record(b"", offset=11), Reason.NOT_JSON, "")
    snapshot = {"version": 2, "created": 1.7e9, "events": {"trained": 8}, "metrics": {"holdout_bits_per_byte": {}}}
    monitor.restored(Standing(), snapshot)
    view, new = monitor.live.view(), Monitor(load(overrides=["monitor.port=0"])).live.view()
    for name in ("course", "predictions", "drifts", "experts", "dead_letters"):
        assert view[name] == new[name], name
    assert view["snapshot"]["version"] == 2


def test_what_a_checkpoint_says_is_shown_until_this_learner_is_the_active_one(monitor: Monitor) -> None:
    monitor.stepped(STANDING, predicted(report()), 0.2)
    monitor.explained(make_record(b"", offset=99), Reason.NOT_JSON, "")
    monitor.live.captured(2, 10)
    monitor.published("published", 2, 0.1, {})
    waits, snapshot = (
        Monitor(load(overrides=["monitor.port=0"])),
        {"version": 3, "events": {"trained": 10}, "created": 7.0},
    )
    waits.recalled(monitor.history(), snapshot)
    waits.recalled(b"", None)  # of a checkpoint that has no history
    waits.beat(lambda: (Standing(), {}))
    here, there = waits.live.view(), monitor.live.view()
    for name in ("step", "counts", "course", "latest", "predictions", "drifts", "experts", "dead_letters"):
        assert here[name] == there[name], name
    assert [mark["version"] for mark in here["publishes"]] == [2, 3]
    assert here["snapshot"]["version"] == 3
    waits.activated(True)
    waits.restored(STANDING, None, monitor.history())
    assert waits.live.view()["dead_letters"]["last"] == []  # it is behind the checkpoint, and is refused again


def test_a_past_that_this_version_does_not_know_is_passed_over_and_named(
    monitor: Monitor, caplog: pytest.LogCaptureFixture
) -> None:
    monitor.restored(STANDING, None, b'{"drifts": 7}')
    assert "the page begins anew: what the checkpoint says of the past cannot be used: Expected `array`" in caplog.text
    assert monitor.live.view()["counts"]["trained"] == 10


def predicted(told: StepReport) -> StepReport:
    """Return `told` with what was predicted of its events."""
    result = told.result or pytest.fail("there is one")
    return replace(told, result=replace(result, predicted=[event.label for event in told.learnt]))


def test_a_snapshot_is_marked_at_the_events_that_had_been_learnt_when_it_was_copied(monitor: Monitor) -> None:
    monitor.captured(STANDING, {"validation": 0.5, "test": None})
    assert shown(monitor, "holdout_accuracy_ratio", split="validation", role="candidate") == 0.5
    later = Standing(step=5, version=2, counts=Counter(trained=20))
    monitor.captured(later, {})  # a checkpoint alone
    assert monitor.place()["step"] == 5
    monitor.published("published", 2, 0.1, {"validation": 0.5})
    assert [(mark["version"], mark["events"]) for mark in monitor.live.view()["publishes"]] == [(2, 10)]
    monitor.published("failed", 3, 0.1, {})
    assert shown(monitor, "publishes_total", outcome="failed") == 1
    assert len(monitor.live.view()["publishes"]) == 1


def test_how_things_stand_is_looked_at_about_once_a_second() -> None:
    times, looks = [100.0, 100.5, 100.9, 101.0, 101.5], 0
    monitor = Monitor(load(overrides=["monitor.port=0"]), clock=iter(times).__next__)

    def look() -> tuple[Standing, dict[tuple[str, int], int]]:
        nonlocal looks
        looks += 1
        return STANDING, {("t", 0): 7}

    monitor.activated(True)
    for _ in times:
        monitor.beat(look)
    assert looks == 2
    assert shown(monitor, "consumer_lag_records", topic="t", partition="0") == 7
    view = monitor.live.view()
    assert (view["lag"], view["buffer"]["capacity"]) == ({"t/0": 7}, 100)
    assert view["buffer"]["labels"] == [("spam", 5), ("ham", 3)]


def test_the_active_learner_shows_the_recall_of_the_labels_with_most_events() -> None:
    times = iter(range(100, 200))
    monitor = Monitor(load(overrides=["monitor.port=0", "monitor.accuracy_window=60"]), clock=times.__next__)

    def shows() -> dict[str, float]:
        for _ in range(2):
            monitor.beat(lambda: (STANDING, {}))
        return {
            sample.labels["label"]: sample.value
            for family in monitor.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "streamlearn_label_recall_ratio"
        }

    monitor.live.learnt(1.0, ["spam", "spam", "ham"], ["spam", "ham", None])
    assert shows() == {}  # a standby has predicted nothing
    monitor.activated(True)
    assert shows() == {"spam": 0.5, "ham": 0.0}
    monitor.live.learnt(1.0, [n % 55 for n in range(60)], [0] * 60)
    assert shows() == {"0": 1.0} | {str(n): 0.0 for n in sorted(range(1, 55), key=lambda n: (n >= 5, str(n)))[:49]}
    monitor.activated(False)
    assert shows() == {}


def test_a_pause_is_shown_while_it_is_the_active_learner_that_is_paused(monitor: Monitor) -> None:
    def shows() -> float | None:
        monitor.beat(lambda: (STANDING, {}))
        return shown(monitor, "paused")

    assert shows() == 0
    monitor.control.ask("pause")
    assert shows() == 0  # a standby takes no steps anyway
    monitor.activated(True)
    assert shows() == 1
    monitor.control.ask("resume")
    assert shows() == 0


TELLINGS: list[tuple[Callable[[Monitor], object], str]] = [
    (Monitor.loaded, "waiting for the group"),
    (lambda monitor: monitor.joined(True), "standby"),
    (lambda monitor: monitor.activated(True), "active"),
    (lambda monitor: monitor.faulty("refusing every event for 2 steps"), "refusing every event for 2 steps"),
    (lambda monitor: monitor.faulty(""), "active"),
    (lambda monitor: monitor.answered(False), "waiting for Kafka"),
    (lambda monitor: monitor.answered(True), "active"),
    (lambda monitor: monitor.activated(False), "standby"),
    (lambda monitor: monitor.joined(False), "waiting for the group"),
]


def test_the_probes_follow_what_is_told(monitor: Monitor) -> None:
    assert monitor.health.state == "loading the model"
    for tell, state in TELLINGS:
        tell(monitor)
        assert monitor.health.state == state
    assert shown(monitor, "rebalances_total") == 1
    assert shown(monitor, "kafka_up") == 1


def test_the_server_is_there_from_its_start_to_its_stop(monitor: Monitor) -> None:
    monitor.stop()
    assert (monitor.server, monitor.failed) == (None, None)
    monitor.start()
    try:
        assert monitor.server
        assert monitor.server.port
        assert monitor.failed is None
    finally:
        monitor.stop()
