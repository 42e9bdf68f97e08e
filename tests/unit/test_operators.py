from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from streamlearn.config import Monitor
from streamlearn.control import Control, Kept
from streamlearn.monitor.health import Health
from streamlearn.monitor.operators import Operators
from streamlearn.storage.control_key import ControlKey


class Key(ControlKey):
    """One that is always there."""

    def __init__(self) -> None:
        super().__init__(Path("state"))

    def read(self) -> str:
        return "k" * 64


HERE = {"x-streamlearn-control": "k" * 64}


def client(box: Control, *, active: bool = True, peer: str = "127.0.0.1", **settings: Any) -> TestClient:
    health = Health(60.0)
    health.model_loaded = health.joined = True
    health.active = active
    operators = Operators(Monitor(**settings), health, box, Key())
    told = Route("/control/{word}", operators.told, methods=["POST"])
    app = Starlette(routes=[told, Route("/control/asked/{ticket}", operators.became)])
    return TestClient(app, base_url="http://127.0.0.1:9108", client=(peer, 4711))


def test_what_an_operator_on_this_machine_asks_for_is_handed_on() -> None:
    control = Control()
    asking = client(control)
    for word in ("pause", "checkpoint", "publish", "publish"):
        assert asking.post(f"/control/{word}", headers=HERE).status_code == 202
    assert control.paused
    assert control.take() == {"checkpoint", "publish"}
    assert control.take() == set()
    assert control.held(0)
    assert asking.post("/control/resume", headers=HERE).status_code == 202
    assert not control.held(60)
    assert asking.post("/control/stop", headers=HERE).status_code == 404
    assert asking.get("/control/pause", headers=HERE).status_code == 405


def test_who_has_asked_learns_what_became_of_it_once_that_is_known() -> None:
    control = Control()
    asking = client(control)
    tickets = [asking.post(f"/control/{word}", headers=HERE).headers["location"] for word in ("checkpoint", "publish")]
    assert "location" not in asking.post("/control/pause", headers=HERE).headers
    assert len(set(tickets)) == 2
    control.settle(Kept(2))  # of a copy that was being written when they asked
    for ticket in tickets:
        assert asking.get(ticket, headers=HERE).json() is None
    assert control.take() == {"checkpoint", "publish"}
    later = asking.post("/control/publish", headers=HERE).headers["location"]
    control.settle(Kept(3, version=7, snapshot="the disk is full"))
    for ticket in tickets:
        answer = asking.get(ticket, headers=HERE).json()
        assert answer == {"step": 3, "checkpoint": "", "version": 7, "snapshot": "the disk is full"}
    assert asking.get(later, headers=HERE).json() is None
    assert asking.get(tickets[0]).status_code == 403
    assert asking.get("/control/asked/0", headers=HERE).status_code == 404


def test_while_it_is_paused_it_is_waited_for_a_new_word_also_where_what_was_asked_cannot_be_done_yet() -> None:
    class Watched(threading.Condition):
        waits = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.waits += 1
            return super().wait(timeout)

    control = Control()
    control._changed = changed = Watched()
    control.ask("pause")
    control.ask("checkpoint")
    assert control.held(60)  # at once: there are words that it has not seen
    assert changed.waits == 0
    for waits in (1, 2):  # the checkpoint cannot be taken, since the one before is being written
        assert control.held(0)
        assert changed.waits == waits
    control.ask("publish")
    assert control.held(60)
    assert changed.waits == 2
    assert control.take() == {"checkpoint", "publish"}


def test_however_many_ask_before_it_is_done_all_learn_what_became_of_it() -> None:
    control = Control()
    waiting = [control.ask("checkpoint") for _ in range(1000)]
    control.take()
    waiting += [control.ask("checkpoint") for _ in range(1000)]
    control.settle(Kept(5))
    assert (control.outcome(waiting[0]), control.outcome(waiting[-1])) == (Kept(5), None)
    control.take()
    control.settle(Kept(6))
    assert {control.outcome(ticket) for ticket in waiting} == {Kept(5), Kept(6)}


def test_however_often_it_is_asked_the_outcomes_that_are_remembered_are_bounded() -> None:
    control, tickets = Control(), []
    for step in range(100):
        tickets.append(control.ask("checkpoint"))
        control.take()
        control.settle(Kept(step))
    assert [control.outcome(ticket) for ticket in tickets[-64:]] == [Kept(step) for step in range(36, 100)]
    assert len(control._outcomes) == 64
    with pytest.raises(KeyError):
        control.outcome(tickets[35])


@pytest.mark.parametrize(
    ("peer", "headers", "why"),
    [
        ("10.0.0.7", HERE, "loopback"),
        ("127.0.0.1", {}, "header"),
        ("127.0.0.1", {"x-streamlearn-control": "yes"}, "key"),
        ("127.0.0.1", {"x-streamlearn-control": b"\xf6" * 64}, "key"),
        ("127.0.0.1", HERE | {"host": "evil.example:9108"}, "loopback"),
        ("127.0.0.1", HERE | {"x-forwarded-for": "10.0.0.7"}, "proxy"),
        ("127.0.0.1", HERE | {"forwarded": "for=10.0.0.7"}, "proxy"),
    ],
)
def test_whoever_is_not_on_this_machine_and_no_page_in_a_browser_is_obeyed(
    peer: str, headers: dict[str, Any], why: str
) -> None:
    control = Control()
    answer = client(control, peer=peer).post("/control/pause", headers=headers)
    assert (answer.status_code, control.paused) == (403, False)
    assert why in answer.text


@pytest.mark.parametrize("host", ["localhost", "[::1]:9108", "127.0.0.5"])
def test_this_machine_has_several_names(host: str) -> None:
    assert client(Control(), peer="::1").post("/control/pause", headers=HERE | {"host": host}).status_code == 202
    assert client(Control(), peer="::ffff:127.0.0.1").post("/control/pause", headers=HERE).status_code == 202


def test_with_a_token_whoever_has_it_is_obeyed_from_anywhere_and_nobody_else() -> None:
    control = Control()
    asking = client(control, peer="10.0.0.7", control="token", control_token=SecretStr("größe"))
    for token in ("yes", "gr", "größe "):
        assert asking.post("/control/pause", headers=[(b"x-streamlearn-control", token.encode())]).status_code == 403
    right = [(b"x-streamlearn-control", "größe".encode())]
    assert asking.post("/control/pause", headers=right).status_code == 202
    assert control.paused


def test_where_it_is_off_nobody_is_obeyed_and_a_standby_obeys_nobody() -> None:
    assert client(Control(), control="off").post("/control/pause", headers=HERE).status_code == 403
    answer = client(Control(), active=False).post("/control/pause", headers=HERE)
    assert (answer.status_code, answer.text) == (409, "it is not the active learner: standby\n")


def test_a_token_is_there_where_it_is_wanted_and_only_there() -> None:
    with pytest.raises(ValidationError, match="there is no control_token"):
        Monitor(control="token")
    with pytest.raises(ValidationError, match="control_token is for control: token"):
        Monitor(control_token=SecretStr("x"))
