from __future__ import annotations

import threading

from streamlearn.patience import ENDING_SECONDS, Patience


def test_told_to_end_all_waits_together_are_short() -> None:
    now, stopping = [100.0], threading.Event()
    patience = Patience(stopping, clock=lambda: now[0])
    assert patience.left(30) == 30
    stopping.set()
    assert patience.left(30) == ENDING_SECONDS
    now[0] += 4
    assert patience.left(30) == ENDING_SECONDS - 4
    assert patience.left(1) == 1
    now[0] += 60
    assert patience.left(30) == 0


def test_a_wait_that_has_begun_grows_short_too() -> None:
    now, stopping = [100.0], threading.Event()
    patience, changed = Patience(stopping, clock=lambda: now[0]), threading.Condition()

    def look() -> bool:
        stopping.set()
        now[0] += 1
        return False

    with changed:
        assert not patience.wait_for(changed, look, 3600)
    assert now[0] <= 100 + ENDING_SECONDS + 3


def test_what_is_reached_already_is_not_waited_for() -> None:
    stopping, changed = threading.Event(), threading.Condition()
    stopping.set()
    patience = Patience(stopping)
    with changed:
        assert patience.wait_for(changed, lambda: True, 0)
