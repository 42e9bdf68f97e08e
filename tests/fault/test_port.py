"""A flood of connections to monitor.port costs the learner nothing: it learns, checkpoints and is seen."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from streamlearn.local.broker import Broker
from streamlearn.monitor.connections import CONNECTIONS
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, send, wait_until, with_topic

TOPICS = itertools.count()
SILENT = 1_100
OWN = 40  # descriptors of a learner without connections, with room for a checkpoint being written
THREADS = 40


def descriptors(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 - it lists descriptors


def threads(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/task"))  # noqa: PTH208 - it lists threads


@pytest.fixture
def limited() -> Iterator[Callable[[int], None]]:
    """Let processes that are started from here on open so many files; the test itself may open more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Flood:
    """As many connections as can be had, each sending `sent` and reading nothing; who is cut comes again."""

    def __init__(self, port: int, sent: bytes) -> None:
        self.made = 0
        self._port, self._sent = port, sent
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            open_ones: list[socket.socket] = []
            while not self._ended.is_set():
                while len(open_ones) < SILENT and not self._ended.is_set():
                    connection = stack.enter_context(socket.socket())
                    connection.settimeout(5)
                    with contextlib.suppress(OSError):
                        connection.connect(("127.0.0.1", self._port))
                        connection.sendall(self._sent)
                    self.made += 1
                    open_ones.append(connection)
                for connection in open_ones[: SILENT // 2]:
                    connection.close()
                del open_ones[: SILENT // 2]
                selector.select(0.05)


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5])
def test_a_flood_of_connections_costs_no_checkpoint_no_probe_and_no_scrape(
    broker: Broker, tiny_model: Path, tmp_path: Path, limited: Callable[[int], None], sent: bytes
) -> None:
    overrides = [*settings(broker, f"port-{next(TOPICS)}", tiny_model, tmp_path), "events.holdout_ratio=0"]
    config = with_topic(overrides)
    limited(256)
    learner = LearnerProcess(overrides)
    limited(8_000)
    process, seen = learner.process.pid, []
    try:
        send(config, [event(n) for n in range(160)])
        learner.wait_for("streamlearn_events_total", 160, outcome="trained")
        learner.wait_for("streamlearn_checkpoints_total", 1, outcome="written")
        with Flood(learner.port, sent) as flood:
            wait_until(lambda: flood.made > 2 * CONNECTIONS, "the flood is on")
            for number in range(160, 960, 160):
                written = learner.metric("streamlearn_checkpoints_total", outcome="written")
                send(config, [event(n) for n in range(number, number + 160)])
                learner.wait_for("streamlearn_events_total", number + 160, outcome="trained")
                learner.wait_for("streamlearn_checkpoints_total", written + 1, outcome="written")
                seen.append((descriptors(process), threads(process)))
        assert max(count for count, _ in seen) <= CONNECTIONS + OWN
        assert max(count for _, count in seen) <= THREADS
        wait_until(lambda: descriptors(process) <= OWN, "the connections are gone")
        assert learner.metric("streamlearn_checkpoints_total", outcome="failed") == 0
        assert learner.terminate() == 0
        assert "system resource" not in learner.stderr()
        assert "Too many open files" not in learner.stderr()
    finally:
        learner.kill()


@pytest.mark.parametrize(("limit", "code"), [(32, 2), (48, 2), (80, -signal.SIGTERM)])
def test_with_too_low_a_limit_on_open_files_the_start_says_so_and_else_it_learns(
    broker: Broker, tiny_model: Path, tmp_path: Path, limited: Callable[[int], None], limit: int, code: int
) -> None:
    overrides = [*settings(broker, f"port-{next(TOPICS)}", tiny_model, tmp_path), "events.holdout_ratio=0"]
    config = with_topic(overrides)
    send(config, [event(n) for n in range(160)])
    limited(limit)
    if code == 2:
        command = [sys.executable, "-m", "streamlearn", "run", *(f"--set={override}" for override in overrides)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        limited(8_000)
        _, said = process.communicate(timeout=90)
        assert process.returncode == code, said
        assert f"the limit on open files is {limit} (ulimit -n), and the learner needs at least" in said
        return
    learner = LearnerProcess(overrides)
    limited(8_000)
    try:
        learner.wait_for("streamlearn_events_total", 160, outcome="trained")
        with Flood(learner.port, b"") as flood:
            wait_until(lambda: flood.made > 2 * SILENT, "the flood is on")
            send(config, [event(n) for n in range(160, 320)])
            learner.wait_for("streamlearn_events_total", 320, outcome="trained")
            learner.wait_for("streamlearn_checkpoints_total", 3, outcome="written")
        assert learner.metric("streamlearn_checkpoints_total", outcome="failed") == 0
        assert learner.terminate() == 0, learner.stderr()
    finally:
        learner.kill()
