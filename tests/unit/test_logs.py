from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from streamlearn import masking
from streamlearn.config import Monitor
from streamlearn.monitor.logs import REPEATS, WINDOW_SECONDS, RepeatFilter, adopt, catch, configure
from streamlearn.unforeseen import unforeseen

PLACE = {"step": 7, "version": 2, "positions": {"t/0": 130}}
log = logging.getLogger("streamlearn.somewhere")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


def test_json_lines_have_the_place_in_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Monitor(log_format="json"), lambda: PLACE)
    log.warning("drift: the mean of the %s has risen", "loss")
    log.debug("not at this level")
    (line,) = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert record.pop("time")[:2] == "20"
    assert record == {
        "level": "WARNING",
        "logger": "streamlearn.somewhere",
        "message": "drift: the mean of the loss has risen",
        **PLACE,
    }


def test_lines_for_a_person_name_the_step(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Monitor(), lambda: PLACE)
    log.info("active")
    assert capsys.readouterr().err.endswith("INFO    step 7  active\n")


def test_a_line_about_an_earlier_place_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Monitor(log_format="json"), lambda: PLACE)
    log.info("published", extra={"step": 3})
    record = json.loads(capsys.readouterr().err)
    assert (record["step"], record["version"]) == (3, 2)


def test_changes_of_state_are_not_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Monitor(), lambda: PLACE)
    for number in range(3 * REPEATS):
        log.info("published snapshot %d", number)
    assert len(capsys.readouterr().err.splitlines()) == 3 * REPEATS


def test_an_error_of_a_library_has_its_trace_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Monitor(log_format="json"), lambda: PLACE)
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("elsewhere").exception("unforeseen")
    assert "KeyError" in json.loads(capsys.readouterr().err)["exc_info"]


def test_repeats_are_held_back_for_a_minute_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    sparing = RepeatFilter(clock=lambda: now)
    log.addFilter(sparing)
    try:
        for number in range(20):
            log.warning("checkpoint of step %d failed", number)
        log.warning("something else")
        now = WINDOW_SECONDS + 1
        log.warning("something else")
    finally:
        log.removeFilter(sparing)
    assert len([m for m in caplog.messages if "checkpoint" in m]) == REPEATS
    assert caplog.messages.count("something else") == 2


def test_what_was_held_back_is_said_on_the_next_line_of_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    configure(Monitor(), lambda: PLACE)
    (handler,) = logging.getLogger().handlers
    handler.filters = [RepeatFilter(clock=lambda: now), *handler.filters[1:]]
    for number in range(REPEATS + 4):
        now += WINDOW_SECONDS + 1 if number == REPEATS + 3 else 0
        log.warning("again")
    assert capsys.readouterr().err.splitlines()[-1].endswith("again (and 3 more like it before)")


def test_whatever_is_logged_is_one_line_that_no_escape_sequence_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Monitor(), lambda: PLACE)
    log.error("label %s", "spam\x1b[2J\n2026-01-01 INFO all is well\u202e")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"label spam\x1b[2J\n2026-01-01 INFO all is well\u202e")


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_no_secret_that_was_read_is_logged(log_format: Any, capsys: pytest.CaptureFixture[str]) -> None:
    masking._hidden.clear()
    masking.hide({"kafka": {"client": {"sasl_plain_password": 'hun"ter2'}}})
    configure(Monitor(log_format=log_format), lambda: PLACE)
    try:
        raise ValueError('hun"ter2')
    except ValueError:
        log.exception("refused: %s at u:pw@h:1", 'hun"ter2')
    masking._hidden.clear()
    found = capsys.readouterr().err
    assert "ter2" not in found
    assert "u:pw" not in found
    assert "***" in found


def test_in_json_traces_other_libraries_and_what_nobody_can_catch_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.unraisablehook
    library = logging.getLogger("somebodys.library")
    library.addHandler(logging.StreamHandler(sys.stderr))
    configure(Monitor(log_format="json"), lambda: PLACE)
    catch()
    adopt()
    try:
        library.warning("a line\nof its own")
        unforeseen("learning", KeyError("x"))

        class Dying:
            def __del__(self) -> None:
                raise OSError("too late")

        Dying()
    finally:
        sys.unraisablehook = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["WARNING", "ERROR", "ERROR"]
    assert all(line.keys() >= {"time", "message", "step", "version", "positions"} for line in lines)
    assert not any(name.startswith("_") for line in lines for name in line)
