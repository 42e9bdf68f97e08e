from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.monitor.live import LABELS, POINTS, Course, Live


@given(st.integers(1, 9 * POINTS))
def test_a_course_keeps_its_whole_length_and_its_mean_in_a_bounded_number_of_points(batches: int) -> None:
    course = Course()
    for number in range(batches):
        course.add(number + 1, loss=float(number), accuracy=number / batches)
    each = -(-batches // len(course.events)) if batches >= 2 * POINTS else 1
    assert len(course.events) == len(course.loss) == len(course.accuracy) < 2 * POINTS
    assert course.events == sorted(set(course.events))
    assert batches - course.events[-1] < each <= 16
    assert course.loss[0] == pytest.approx((course.events[0] - 1) / 2)


def live() -> Live:
    return Live(topic="t", group="g")


def test_a_publication_is_marked_at_what_had_been_learnt_when_it_was_captured() -> None:
    shown = live()
    shown.captured(3, events=100)
    shown.learnt(120, loss=1.0, accuracy=0.5)
    shown.published(3)
    shown.drifted(130, "loss")
    view = shown.view()
    assert [(mark["version"], mark["events"]) for mark in view["publishes"]] == [(3, 100)]
    assert [(mark["detector"], mark["events"]) for mark in view["drifts"]] == [("loss", 130)]
    assert view["snapshot"]["version"] == 3


def test_the_course_ends_now_though_its_last_point_is_not_full_yet() -> None:
    shown = live()
    for number in range(4 * POINTS + 3):
        shown.learnt(number, loss=number, accuracy=0.5)
    view = shown.view()
    assert view["course"]["events"][-1] == 4 * POINTS + 2
    assert view["course"]["loss"][-1] == pytest.approx(4 * POINTS + 1)
    assert view["latest"] == {"loss": 4 * POINTS + 2, "accuracy": 0.5}


def test_who_takes_over_goes_on_where_the_checkpoint_is() -> None:
    shown = live()
    for number in range(100, 1100, 100):
        shown.learnt(number, loss=1.0, accuracy=0.5)
        shown.drifted(number, "loss")
    shown.resumed(500, {"version": 3, "at": 7.0})
    shown.learnt(550, loss=1.0, accuracy=0.5)
    view = shown.view()
    assert view["course"]["events"] == [100, 200, 300, 400, 500, 550]
    assert [mark["events"] for mark in view["drifts"]] == [100, 200, 300, 400, 500]
    assert view["snapshot"] == {"version": 3, "at": 7.0}


def test_who_takes_over_counts_dead_letters_from_the_checkpoint_on() -> None:
    shown = live()
    for _ in range(3):
        shown.refused("not_json")
    shown.resumed(500, None, reasons={"not_json": 2, "tombstone": 1})
    shown.refused("not_json")
    assert shown.view()["dead_letters"]["reasons"] == {"not_json": 3, "tombstone": 1}


def test_the_view_is_a_copy_that_json_can_carry_and_stays_small() -> None:
    shown = live()
    before = shown.view()
    for number in range(5000):
        shown.learnt(number, loss=0.1, accuracy=0.9)
        shown.refused("not_json")
        shown.drifted(number, "error")
        shown.captured(number, number)
        shown.published(number)
    shown.standing({("t", 0): 7}, {f"label {n}": n for n in range(100)}, 10_000)
    assert before["course"]["events"] == []
    view = shown.view()
    assert view["dead_letters"]["reasons"] == {"not_json": 5000}
    assert view["lag"] == {"t/0": 7}
    assert view["buffer"]["labels"][0] == ("label 99", 99)
    assert (len(view["buffer"]["labels"]), view["buffer"]["records"]) == (LABELS, 4950)
    assert len(json.dumps(view, allow_nan=False)) < 100_000
