from __future__ import annotations

import logging

import pytest

from streamlearn.monitor.refusals import GATHER_SECONDS, SURE, RefusalLog
from tests.unit.builders import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock, caplog: pytest.LogCaptureFixture) -> RefusalLog:
    caplog.set_level(logging.INFO)
    return RefusalLog(clock=clock)


def test_refusals_are_told_by_reason_and_field_and_at_most_once_a_minute(
    refusals: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.decoded(1)
    refusals.tell()
    for why in ("missing_field: label", "missing_field: label", "not_json"):
        refusals.refused(why)
        refusals.tell()
    assert caplog.messages == []  # more may come with them
    clock.now += GATHER_SECONDS
    refusals.tell()
    assert caplog.messages == ["refused 3 records as dead letters: 2 missing_field: label, 1 not_json"]
    refusals.refused("not_utf8")
    for _ in range(59):
        clock.now += 1
        refusals.tell()
    assert len(caplog.messages) == 1
    clock.now += 1
    refusals.tell()
    refusals.tell()
    assert caplog.messages[1:] == ["refused 1 records as dead letters: 1 not_utf8"]


def test_a_start_at_which_everything_is_refused_is_told_at_once_with_how_to_look(
    refusals: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        refusals.refused("missing_field: label")
    (said,) = caplog.records
    assert said.levelno == logging.ERROR
    assert said.getMessage().startswith(f"refused all {SURE} records since the start: {SURE} missing_field: label; ")
    assert "streamlearn dead-letters list" in said.getMessage()
    assert "streamlearn check --sample" in said.getMessage()
    refusals.decoded(1)
    refusals.decoded(1)
    assert caplog.messages[1:] == ["the first record is an event, after 100 that were refused"]


def test_a_few_records_that_are_all_refused_are_told_too(
    refusals: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.refused("bad_format")
    clock.now += GATHER_SECONDS
    refusals.tell()
    assert caplog.messages[0].startswith("refused all 1 records since the start: 1 bad_format; ")


def test_events_that_came_with_what_is_refused_are_counted_first(
    refusals: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.decoded(1900)
    for _ in range(100):
        refusals.refused("not_json")
    assert caplog.messages == []
