"""Terms, with a group and a fence that say what the test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streamlearn import terms
from streamlearn.control import PAUSE, Control
from streamlearn.terms import Term, Terms

PLAIN_TERM = ["active", "taken over", "learn", "standby"]


class Learner:
    """A learner that counts its steps."""

    made = 0

    def __init__(self, _: object) -> None:
        type(self).made += 1
        self.step, self.positions = 0, {}


class Group:
    """A group of which this member is the active one in the terms that the test gives it."""

    def __init__(self, order: list[str]) -> None:
        self.term: int | None = 1
        self.resigned = 0
        self._order = order

    def start(self) -> None:
        self._order.append("join")

    def wait_for_term(self, after: int, timeout: float) -> int | None:
        del timeout
        return self.term if self.term is not None and self.term > after else None

    def resign(self) -> None:
        self.resigned += 1
        self.term = 2


class Told:
    """A monitor that writes down what it is told."""

    def __init__(self, order: list[str]) -> None:
        self._order, self.control = order, Control()

    def loaded(self) -> None:
        self._order.append("loaded")

    def activated(self, active: bool) -> None:
        self._order.append("active" if active else "standby")

    def taken_over(self) -> None:
        self._order.append("taken over")

    def beat(self, look: Callable[[], object]) -> None:
        del look


class Scene:
    """Terms with everything around them."""

    def __init__(self) -> None:
        Learner.made = 0
        self.order: list[str] = []
        self.group, self.stopping = Group(self.order), threading.Event()
        self.fence = SimpleNamespace(held=True, lost=False)
        told = Told(self.order)
        self.control = told.control
        parts: Any = SimpleNamespace(
            monitor=told,
            consumer=self.group,
            keeper=SimpleNamespace(fence=self.fence),
            require_alive=lambda: None,
            recall=lambda: self.order.append("recall"),
        )
        config: Any = None
        self.terms = Terms(config, parts, self.stopping)

    def take_over(self, learner: Any, lasts: Callable[[], bool]) -> bool:
        self.order.append("take over, and may end at once" if self.terms.starting else "take over")
        self.fence.held, self.fence.lost = True, False
        learner.step = 10
        return lasts()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(terms, "Learner", Learner)
    return Scene()


def test_the_model_is_loaded_before_the_group_is_joined_and_a_term_begins_with_the_takeover(scene: Scene) -> None:
    def learn(_: object, term: Term) -> None:
        scene.order.append("learn")
        assert not scene.terms.starting
        assert term.lasts()
        scene.stopping.set()
        assert term.over()

    assert scene.terms.run(scene.take_over, learn)
    assert scene.order == [
        "recall",
        "loaded",
        "join",
        "active",
        "take over, and may end at once",
        "taken over",
        "learn",
        "standby",
    ]


def test_who_is_active_again_with_the_directory_still_its_own_goes_on_without_a_takeover(scene: Scene) -> None:
    def learn(_: object, term: Term) -> None:
        scene.order.append("learn")
        if scene.group.term == 2:
            scene.stopping.set()
        scene.group.term = 2
        assert term.over()

    learner = scene.terms.run(scene.take_over, learn)
    assert learner
    assert (learner.step, Learner.made) == (10, 1)
    assert scene.order[3:] == ["active", "take over, and may end at once", *PLAIN_TERM[1:], *PLAIN_TERM]


def test_who_was_replaced_resigns_where_the_group_does_not_know_and_takes_over_anew(scene: Scene) -> None:
    def learn(_: object, term: Term) -> None:
        if scene.group.term == 1:
            scene.fence.held, scene.fence.lost = False, True
        else:
            scene.stopping.set()
        assert term.over()

    assert scene.terms.run(scene.take_over, learn)
    assert (scene.group.resigned, Learner.made) == (1, 2)
    assert scene.order.count("take over, and may end at once") == 2


def test_a_pause_ends_with_a_takeover_which_is_said_once_and_not_where_the_learner_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    paused = []

    def learn(_: object, term: Term) -> None:
        paused.append(scene.control.paused)
        match scene.group.term:
            case 1:
                scene.control.ask(PAUSE)
                scene.group.term = 2  # nobody else has claimed the directory
            case 2:
                scene.fence.held, scene.fence.lost = False, True
                scene.group.term = 3
            case _:
                scene.stopping.set()
        assert term.over()

    assert scene.terms.run(scene.take_over, learn)
    assert paused == [False, True, False]
    (line,) = [message for message in caplog.messages if "pause ends" in message]
    assert line.startswith("the pause ends with this takeover: a learner that takes over, learns")


def test_a_pause_that_is_asked_for_during_a_takeover_holds(scene: Scene) -> None:
    def take_over(learner: Any, lasts: Callable[[], bool]) -> bool:
        scene.control.ask(PAUSE)
        return scene.take_over(learner, lasts)

    def learn(*_: object) -> None:
        assert scene.control.paused
        scene.stopping.set()

    assert scene.terms.run(take_over, learn)


def test_a_learner_that_has_not_taken_over_is_nothing_to_finish(scene: Scene) -> None:
    def fail(_: object, __: object) -> bool:
        scene.stopping.set()
        return False

    def learn(*_: object) -> None:
        raise AssertionError("it learns what it has not taken over")

    assert scene.terms.run(fail, learn) is None


def test_what_has_ended_a_thread_is_raised_while_standing_by(scene: Scene) -> None:
    def raise_it() -> None:
        raise LookupError

    scene.group.term = None
    scene.terms._parts.require_alive = raise_it  # type: ignore[method-assign]
    with pytest.raises(LookupError):
        scene.terms.run(scene.take_over, lambda *_: None)
