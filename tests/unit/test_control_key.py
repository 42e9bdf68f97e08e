"""The key of who may tell a learner what to do: its file, and how the commands come by it."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamlearn.commands import asking
from streamlearn.commands.control import tell
from streamlearn.config import Config, load
from streamlearn.control import Kept
from streamlearn.errors import StateError, StreamlearnError
from streamlearn.local.broker import free_port
from streamlearn.monitor.monitor import Monitor
from streamlearn.storage.control_key import ControlKey


@pytest.fixture
def key(tmp_path: Path) -> ControlKey:
    key = ControlKey(tmp_path)
    key.make()
    return key


def test_it_is_for_the_learners_user_alone_and_stays_the_same(key: ControlKey) -> None:
    assert (key.path.stat().st_mode & 0o777, key.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    first = key.read()
    key.make()
    assert key.read() == first
    assert len(first) == 64
    assert os.listdir(key.path.parent) == ["control.key"]  # noqa: PTH208 - nothing is left behind


def to_others(path: Path) -> None:
    path.chmod(0o644)


def torn(path: Path) -> None:
    path.write_text(path.read_text()[:40])


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("harm", [to_others, torn, linked, Path.unlink])
def test_one_that_others_may_know_or_that_is_none_is_replaced(key: ControlKey, harm: Callable[[Path], None]) -> None:
    first = key.read()
    harm(key.path)
    key.make()
    assert key.read() != first
    assert key.path.lstat().st_mode & 0o177777 == 0o100600


@pytest.fixture
def learner(tmp_path: Path) -> Any:
    """Starts what answers for an active learner, with the settings given; returns it and its configuration."""
    started = list[Monitor]()

    def start(*overrides: str) -> tuple[Monitor, Config]:
        settings = [f"monitor.port={free_port()}", f"publisher.directory={tmp_path}", *overrides]
        config = load(overrides=settings)
        monitor = Monitor(config)
        monitor.start()
        monitor.loaded()
        monitor.joined(joined=True)
        monitor.activated(True)
        started.append(monitor)
        return monitor, config

    yield start
    for monitor in started:
        monitor.stop()


def test_a_command_reads_the_key_and_is_obeyed_after_another_start_too(learner: Any, tmp_path: Path) -> None:
    active, config = learner()
    learner()  # a standby of the same directory
    assert tell(config, "pause").answer.startswith("pause: asked")
    assert active.control.paused
    (tmp_path / "seats" / "control.key").chmod(0o644)
    learner()
    assert tell(config, "resume").answer.startswith("resume: asked")
    assert not active.control.paused


@contextmanager
def loop(active: Monitor, kept: Kept) -> Iterator[None]:
    """Take what is asked for, as the loop does between two steps, and tell what became of it."""
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            active.control.held(0.01)
            if active.control.take():
                active.settled(kept)
                return

    thread = threading.Thread(target=turn)
    active.control.ask("pause")  # so that it waits for words, and not for nothing
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_command_waits_for_what_becomes_of_a_checkpoint_or_a_snapshot_and_says_it(learner: Any) -> None:
    active, config = learner()
    with loop(active, Kept(12)):
        told = tell(config, "checkpoint", timeout=60)
    assert (told.answer, told.kept) == ("the checkpoint of step 12 is written", Kept(12))
    with loop(active, Kept(12, version=3)):
        assert tell(config, "publish", timeout=60).answer == "snapshot 3 of step 12 is published"


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (Kept(12, "the disk is full", 3, "the disk is full"), "the checkpoint of step 12 is not written: the disk is"),
        (Kept(12, version=3, snapshot="the gate rejects it"), "snapshot 3 is not published: the gate rejects it; the"),
        (Kept(12), "nothing is published, since no event has been learnt yet; the checkpoint of step 12 is written"),
    ],
)
def test_what_comes_to_nothing_is_a_failure_that_says_why(learner: Any, kept: Kept, said: str) -> None:
    active, config = learner()
    with loop(active, kept), pytest.raises(StreamlearnError, match=said):
        tell(config, "publish", timeout=60)


def test_a_command_waits_no_longer_than_it_is_told_to_and_not_for_a_learner_that_has_ended(
    learner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    active, config = learner()
    assert tell(config, "checkpoint", timeout=0).kept is None
    ticks = iter([0.0, 5.0, 61.0])
    with pytest.raises(StreamlearnError, match=r"has not done so within 60 s; it is still to do so: see its log"):
        tell(config, "checkpoint", timeout=60, clock=ticks.__next__)
    monkeypatch.setattr(active.control, "outcome", lambda _: active.server._server.__setattr__("should_exit", True))
    with pytest.raises(StreamlearnError, match="no longer answers, and has not said what became of it; see its log"):
        tell(config, "checkpoint", timeout=60)


class Hanging:
    """A learner that is asked what became of something, and answers the first `questions` about it too late.

    Its :meth:`clock` moves by as many seconds each time that it is looked at.
    """

    def __init__(self, active: Monitor, monkeypatch: pytest.MonkeyPatch, questions: int) -> None:
        self._outcome, self._monkeypatch = active.control.outcome, monkeypatch
        self._over, self._left, self.asked = threading.Event(), questions, 0
        monkeypatch.setattr(active.control, "outcome", self.outcome)

    def outcome(self, ticket: str) -> Kept | None:
        self.asked += 1
        if self.asked <= self._left:
            self._over.wait(60)
        return self._outcome(ticket)

    def clock(self) -> float:
        """Return how late it is; the first time is once the learner has taken the word."""
        self._monkeypatch.setattr(asking, "SECONDS", 0.3)
        return 10.0 * self.asked

    def end(self) -> None:
        self._over.set()


def test_a_question_that_is_not_answered_in_time_is_asked_again(learner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    active, config = learner()
    hanging = Hanging(active, monkeypatch, 2)
    with loop(active, Kept(12)):
        told = tell(config, "checkpoint", timeout=60, clock=hanging.clock)
    hanging.end()
    assert told.answer == "the checkpoint of step 12 is written"
    assert hanging.asked >= 3


def test_of_a_learner_that_hangs_it_is_not_said_that_it_has_ended_and_it_is_asked_as_long_as_it_was_said(
    learner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    active, config = learner()
    hanging = Hanging(active, monkeypatch, 1000)
    with pytest.raises(StreamlearnError, match="no longer answers, and has not said what became of it; see its log"):
        tell(config, "checkpoint", timeout=60, clock=hanging.clock)
    hanging.end()
    assert hanging.asked >= 6


@pytest.mark.usefixtures("key")
def test_of_a_word_that_is_not_answered_it_is_said_that_it_may_have_been_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = load(overrides=[f"monitor.port={silent.getsockname()[1]}", f"publisher.directory={tmp_path}"])
        with pytest.raises(StreamlearnError, match=r"does not answer: timed out; whether it is to pause is not known"):
            tell(config, "pause")


class Stranger(BaseHTTPRequestHandler):
    """Answers as a learner does at first, and then with a page."""

    def do_POST(self) -> None:
        self.send_response(202)
        self.send_header("location", "/control/asked/1")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("key")
def test_an_answer_that_no_learner_gives_is_one_sentence(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        config = load(overrides=[f"monitor.port={server.server_port}", f"publisher.directory={tmp_path}"])
        try:
            with pytest.raises(StreamlearnError, match="does not say what became of it as a streamlearn learner does"):
                tell(config, "checkpoint", timeout=60)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("harm", [Path.unlink, torn])
def test_a_key_that_cannot_be_read_is_one_sentence_where_a_learner_answers(
    learner: Any, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    active, config = learner()
    path = tmp_path / "seats" / "control.key"
    harm(path)
    with pytest.raises(StateError, match=f"has its key, and that cannot be read: {path}.*monitor.control: token"):
        tell(config, "pause")
    assert not active.control.paused
    nobody = load(overrides=[f"monitor.port={free_port()}", f"publisher.directory={tmp_path}/none"])
    with pytest.raises(StreamlearnError, match="no learner answers"):
        tell(nobody, "pause")


def test_where_no_key_can_be_written_the_learner_starts_and_says_what_does_not_work(
    learner: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "seats" / "control.key").mkdir(parents=True)
    active, config = learner()
    assert "pause, resume, checkpoint and publish are refused" in caplog.text
    with pytest.raises(StateError, match="is a directory where a file is expected"):
        tell(config, "pause")
    assert not active.control.paused


@contextmanager
def relay(port: int) -> Iterator[int]:
    """Pass one connection on to `port` of this machine, adding nothing, as a proxy that says nothing does."""

    def passed_on() -> None:
        ours, _ = listener.accept()
        with ours, socket.create_connection(("127.0.0.1", port)) as theirs:
            theirs.sendall(ours.recv(2**16))
            while answer := theirs.recv(2**16):
                ours.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=passed_on, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)


def test_through_a_relay_that_says_nothing_only_who_has_the_key_is_obeyed(learner: Any, key: ControlKey) -> None:
    active, config = learner()
    for given, status in (("yes", 403), ("0" * 64, 403), ("", 403), (key.read(), 202)):
        assert not active.control.paused
        with relay(config.monitor.port) as port, closing(http.client.HTTPConnection("127.0.0.1", port)) as somebody:
            head = {"Host": "localhost", "X-Streamlearn-Control": given, "Connection": "close"}
            somebody.request("POST", "/control/pause", headers=head)
            assert somebody.getresponse().status == status
    assert active.control.paused


def test_there_is_no_key_where_nobody_may_or_a_token_is_asked_for(learner: Any, tmp_path: Path) -> None:
    _, off = learner('monitor.control="off"')
    with pytest.raises(StreamlearnError, match=r"monitor\.control is off"):
        tell(off, "pause")
    active, config = learner("monitor.control=token", "monitor.control_token=sesame")
    tell(config, "pause")
    assert active.control.paused
    assert not (tmp_path / "seats").exists()
