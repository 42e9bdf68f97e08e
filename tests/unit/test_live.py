from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.events import Label
from streamlearn.monitor.course import POINTS, Course
from streamlearn.monitor.experts import ExpertCourse, Experts
from streamlearn.monitor.history import Publication, read
from streamlearn.monitor.live import LABELS, MARKS, REFUSALS, Live
from streamlearn.reports import ExpertReport, Standing, StepResult
from tests.unit.builders import make_record


@given(st.integers(1, 9 * POINTS))
def test_a_course_keeps_its_whole_length_and_its_mean_in_a_bounded_number_of_points(batches: int) -> None:
    course = Course()
    for number in range(batches):
        course.add(number + 1, loss=float(number), figure=number / batches)
    each = -(-batches // len(course.events)) if batches >= 2 * POINTS else 1
    assert len(course.events) == len(course.loss) == len(course.figure) < 2 * POINTS
    assert course.events == sorted(set(course.events))
    assert batches - course.events[-1] < each <= 16
    assert course.loss[0] == pytest.approx((course.events[0] - 1) / 2)


def live(**settings: Any) -> Live:
    return Live(topic="t", group="g", **settings)


def at(trained: int, accuracy: float = 0.5, **more: Any) -> Standing:
    return Standing(counts=Counter(trained=trained), accuracy=accuracy, **more)


def learn(shown: Live, trained: int, loss: float = 1.0, label: Label = "a", predicted: Label | None = "a") -> None:
    shown.stands(at(trained))
    shown.learnt(loss, [label], [predicted])


def test_a_publication_is_marked_at_what_had_been_learnt_when_it_was_captured() -> None:
    shown = live()
    shown.captured(3, events=100)
    learn(shown, 120)
    shown.published(3)
    learn(shown, 130)
    shown.drifted("loss")
    view = shown.view()
    assert [(mark["version"], mark["events"]) for mark in view["publishes"]] == [(3, 100)]
    assert [(mark["detector"], mark["events"]) for mark in view["drifts"]] == [("loss", 130)]
    assert view["snapshot"]["version"] == 3


def test_the_course_ends_now_though_its_last_point_is_not_full_yet() -> None:
    shown = live()
    for number in range(4 * POINTS + 3):
        learn(shown, number, loss=number)
    view = shown.view()
    assert view["course"]["events"][-1] == 4 * POINTS + 2
    assert view["course"]["loss"][-1] == pytest.approx(4 * POINTS + 1)
    assert view["latest"] == {"loss": 4 * POINTS + 2, "accuracy": 0.5}


def full(learnt: int = 1000) -> Live:
    """Return what has seen something of each kind, of all that it may hold the most."""
    shown = live()
    for number in range(learnt):
        learn(shown, number, loss=number / 7, label=f"label {number % 40}", predicted=number % 3 or None)
        shown.refused(make_record(b"secret", offset=number), "missing_field", "label")
        shown.drifted("error")
        shown.captured(number, number)
        shown.published(number)
    shown.experts({"softmax": ExpertCourse(0.5, 1.25, 300), "averaged": ExpertCourse(0.0, None, 0, "runaway", 7.0)})
    return shown


def passed(view: dict[str, Any]) -> dict[str, Any]:
    """Return what of a view is about the past."""
    kept = ("course", "latest", "drifts", "publishes", "snapshot", "experts", "predictions")
    return {name: view[name] for name in kept} | {"refusals": view["dead_letters"]["last"]}


@pytest.mark.parametrize("learnt", [0, 1, 30, 3 * POINTS + 1])
def test_who_is_started_again_shows_what_had_passed(learnt: int) -> None:
    before, after = full(learnt), live()
    standing = at(learnt, positions={("t", 0): learnt})
    before.stands(standing)
    newest = [Publication(mark["version"], mark["events"], mark["at"]) for mark in before.view()["publishes"][-1:]]
    after.resumed(standing, read(before.history()), next(iter(newest), None))
    assert passed(after.view()) == passed(before.view())
    for shown in (before, after):  # and goes on alike
        learn(shown, learnt + 1, loss=3.0, predicted="b")
    assert passed(after.view()) == passed(before.view())


def test_what_came_after_the_checkpoint_is_not_shown_twice_when_it_comes_again() -> None:
    written = full(20).history()
    shown = live()
    shown.resumed(at(10, positions={("t", 0): 11}), read(written), Publication(5, 5, 7.0))
    view = shown.view()
    assert view["course"]["events"] == list(range(11))
    assert [mark["events"] for mark in view["drifts"]] == list(range(11))
    assert [mark["version"] for mark in view["publishes"]] == [0, 1, 2, 3, 4, 5]
    assert [letter["offset"] for letter in view["dead_letters"]["last"]] == list(range(11))
    assert view["snapshot"] == {"version": 5, "events": 5, "at": 7.0}


def test_a_snapshot_that_was_published_after_the_checkpoint_of_its_step_is_marked_too() -> None:
    shown = live()
    learn(shown, 10)
    written = shown.history()
    resumed = live()
    resumed.resumed(at(10), read(written), Publication(1, 10, 7.0))
    assert resumed.view()["publishes"] == [{"version": 1, "events": 10, "at": 7.0}]


def test_without_a_history_of_its_checkpoint_a_learner_shows_what_it_has_seen_itself() -> None:
    shown = live()
    for number in range(100, 1100, 100):
        learn(shown, number)
        shown.drifted("loss")
    shown.resumed(at(500), None, Publication(3, None, 7.0))
    learn(shown, 550)
    view = shown.view()
    assert view["course"]["events"] == [100, 200, 300, 400, 500, 550]
    assert [mark["events"] for mark in view["drifts"]] == [100, 200, 300, 400, 500]
    assert view["snapshot"] == {"version": 3, "events": None, "at": 7.0}


@pytest.mark.parametrize(
    "written",
    [
        b"{",
        b"[]",
        b'{"course": {"events": [1, 2], "loss": [0.5], "figure": [null]}}',
        b'{"course": {"each": 0}}',
        b'{"drifts": [{"events": "many"}]}',
        b'{"predicted": {"labels": ["a"], "pairs": [0, 1]}}',
        b'{"predicted": {"labels": ["a"], "pairs": [-1, 0]}}',
        b'{"predicted": {"labels": ["a"], "pairs": [0]}}',
    ],
)
def test_what_is_no_history_is_refused(written: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read(written)


def test_a_history_with_more_in_it_than_this_version_knows_is_read() -> None:
    written = full(3).history()
    assert read(msgspec.json.encode(msgspec.json.decode(written) | {"moods": [1]})) == read(written)
    assert read(b"") is None
    assert read(b"{}") is not None


def test_an_expert_that_the_configuration_has_no_more_is_not_shown_after_a_step() -> None:
    experts = Experts(window=10)
    experts.by_name = {"softmax": ExpertCourse(0.5, 1.0, 10), "gone": ExpertCourse(0.5, 1.0, 10)}
    result = StepResult(np.array([True]), np.array([2.0], np.float32), 1.0, 1.0, 0.1)
    experts.stepped(replace(result, experts={"softmax": ExpertReport(0.25, 2.0)}), now=1.0)
    assert experts.by_name == {"softmax": ExpertCourse(0.25, 1.1, 10)}


def test_the_view_is_a_copy_that_json_can_carry_and_stays_small() -> None:
    shown = full(5000)
    shown.stands(
        at(
            5000,
            reasons=Counter(not_json=5000),
            buffer_records=4950,
            buffer_capacity=10_000,
            by_label={f"label {n}": n for n in range(100)},
        )
    )
    shown.lags({("t", 0): 7})
    view = shown.view()
    learn(shown, 6000)
    assert view["counts"] == {"trained": 5000}
    assert view["dead_letters"]["reasons"] == {"not_json": 5000}
    assert view["lag"] == {"t/0": 7}
    assert view["buffer"]["labels"][0] == ("label 99", 99)
    assert (len(view["buffer"]["labels"]), view["buffer"]["records"]) == (LABELS, 4950)
    assert (len(view["drifts"]), len(view["dead_letters"]["last"])) == (MARKS, REFUSALS)
    assert len(json.dumps(view, allow_nan=False)) < 100_000
    assert len(shown.history()) < 100_000
    assert "secret" not in json.dumps(view) + shown.history().decode()


def test_of_a_language_model_nothing_is_shown_that_is_about_labels() -> None:
    shown = live(labelled=False)
    shown.stands(Standing(counts=Counter(trained=4), bits_per_byte=1.5, buffer_records=4, by_label={"": 4}))
    shown.learnt(2.0)
    view = shown.view()
    assert (view["labelled"], view["predictions"], view["buffer"]["labels"]) == (False, None, [])
    assert view["latest"] == {"bits_per_byte": 1.5, "loss": 2.0}
    assert view["course"]["figure"] == [1.5]


def test_labels_that_look_alike_are_counted_together() -> None:
    shown = live()
    shown.stands(at(9, by_label={1: 5, "1": 3, "a": 1, "\x1b": 4}))
    assert shown.view()["buffer"]["labels"] == [("1", 8), (r"\x1b", 4), ("a", 1)]


def test_the_learning_thread_does_not_wait_for_what_is_made_of_the_labels() -> None:
    shown = live()

    class Labels(dict[Label, int]):
        def items(self) -> Any:
            learner = threading.Thread(target=learn, args=(shown, 2), daemon=True)
            learner.start()
            learner.join(10.0)
            assert not learner.is_alive(), "it waits for the page"
            return super().items()

    shown.stands(at(1, by_label=Labels(a=1)))
    assert shown.view()["buffer"]["labels"] == [("a", 1)]
    assert shown.view()["counts"] == {"trained": 2}


def test_a_label_that_would_turn_the_direction_of_writing_is_written_out() -> None:
    shown = live()
    shown.stands(at(1, by_label={"\u202eevil": 1}))
    shown.learnt(1.0, ["\u202eevil"], ["<b>bold</b>"])
    view = shown.view()
    assert view["buffer"]["labels"] == [(r"\u202eevil", 1)]
    assert {row["label"] for row in view["predictions"]["rows"]} == {r"\u202eevil", "<b>bold</b>"}
