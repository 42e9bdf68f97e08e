from __future__ import annotations

import io
import logging
from collections import Counter
from dataclasses import replace

import pytest

from streamlearn import terminal
from streamlearn.monitor.logs import AboveTheStatus
from streamlearn.monitor.progress import Progress
from streamlearn.reports import Standing
from streamlearn.terminal import ERASE, STATUS
from tests.unit.test_refusals import Clock

STANDING = Standing(step=7, counts=Counter(trained=100, dead_letter=4), accuracy=0.9)
LAG = {("t", 0): 5, ("t", 1): 7}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def later(standing: Standing, trained: int) -> Standing:
    return replace(standing, counts=standing.counts + Counter(trained=trained))


def test_away_from_a_terminal_a_line_a_minute_says_how_it_goes_while_records_come(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress, standing = Progress(clock=clock), STANDING
    for _ in range(61):
        progress.tell(standing, LAG)
        clock.now += 1
        standing = later(standing, 20)
    assert caplog.messages == ["20 records/s, accuracy 0.900, lag 12, 4 refused in all"]
    for _ in range(200):
        progress.tell(standing, LAG)
        clock.now += 1
    assert len(caplog.messages) == 2  # what came in the last second of that minute, and nothing while nothing comes


def test_a_language_model_is_measured_in_bits_and_what_is_not_known_is_no_figure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for standing, said in ((replace(Standing(), bits_per_byte=1.25), "1.250 bits per byte"), (Standing(), "not known")):
        clock = Clock()
        progress = Progress(clock=clock)
        progress.tell(standing, {})
        clock.now += 60
        progress.tell(later(standing, 60), {})
        assert said in caplog.messages[-1]
        assert caplog.messages[-1].startswith("1 records/s, ")


def test_on_a_terminal_it_is_the_last_line_below_those_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    terminal_line = Terminal()
    monkeypatch.setattr(terminal.sys, "stderr", terminal_line)
    STATUS.begin()
    clock = Clock()
    progress = Progress(clock=clock)
    progress.tell(STANDING, LAG)
    clock.now += 100
    progress.tell(later(STANDING, 50), LAG)
    line = "step 7: 0.5 records/s, accuracy 0.900, lag 12, 4 refused in all"
    assert terminal_line.getvalue().endswith(f"{ERASE}{line}")
    assert caplog.messages == []
    handler = AboveTheStatus(terminal_line)
    handler.emit(logging.LogRecord("streamlearn", logging.INFO, "", 0, "something has changed", (), None))
    assert terminal_line.getvalue().endswith(f"{ERASE}something has changed\n{line}")
    STATUS.end()
    assert terminal_line.getvalue().endswith(f"{line}{ERASE}")
    STATUS.show("too late")
    assert "too late" not in terminal_line.getvalue()


def test_where_standard_error_is_no_terminal_nothing_is_shown_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(terminal.sys, "stderr", stderr)
    STATUS.begin()
    STATUS.show("step 1")
    with STATUS.away():
        pass
    STATUS.end()
    assert stderr.getvalue() == ""
