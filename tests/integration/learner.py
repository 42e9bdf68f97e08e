"""Learners under test: as a process that can be killed, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.config import Config, load
from streamlearn.consumer.client import create_topic, make_producer
from streamlearn.local.broker import free_port
from streamlearn.local.tiny import WORDS
from streamlearn.pipeline import Pipeline
from streamlearn.state import State
from tests.forked import Forked

DEADLINE_SECONDS = 60.0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Return once `condition` holds; fail when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


class LearnerProcess:
    """``streamlearn run`` with the given overrides, its metrics on `port` or on a free one, started through `by`.

    With `forked` it is spared the imports, and is no ``python -m streamlearn`` to whoever lists processes.
    """

    def __init__(
        self, overrides: list[str], *, port: int | None = None, by: Sequence[str] = (), forked: bool = False
    ) -> None:
        self.port = port or free_port()
        arguments = [f"--set={override}" for override in [*overrides, f"monitor.port={self.port}"]]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - kept as long as the process
        command = [*by, sys.executable, "-m", "streamlearn", "run", *arguments]
        self.process: Forked | subprocess.Popen[bytes] = (
            Forked("run", *arguments, stderr=self._log) if forked else subprocess.Popen(command, stderr=self._log)
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of the learner's metrics, 0 while it does not answer or has no such sample."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0.0
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    def wait_for(self, name: str, least: float, **labels: str) -> None:
        """Wait until a sample is at least `least`."""

        def reached() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the learner ended with {self.process.returncode}: {self.stderr()}")
            return self.metric(name, **labels) >= least

        wait_until(reached, f"{name}{labels} >= {least}")

    def wait_until_learning(self) -> None:
        """Wait until it has taken over: until then it may end at once, since what it has re-run is recorded already."""
        wait_until(lambda: "learning from step" in self.stderr(), "it has taken over")

    def stderr(self) -> str:
        """Return what it has written so far."""
        log = self._log.fileno()
        return os.pread(log, os.fstat(log).st_size, 0).decode()

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def learners(overrides: list[str], *, forked: bool = True) -> Iterator[Callable[..., LearnerProcess]]:
    """Give a function that starts a learner of `overrides`, and more of them; in the end all are killed."""
    started: list[LearnerProcess] = []

    def start(*more: str, port: int | None = None) -> LearnerProcess:
        started.append(LearnerProcess([*overrides, *more], port=port, forked=forked))
        return started[-1]

    try:
        yield start
    finally:
        for learner in started:
            learner.kill()


def answers(url: str) -> bool:
    """Return whether `url` answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def waits_for(pipeline: Pipeline) -> list[str]:
    """Return what the page says that `pipeline` waits for, by name."""
    return [one["for"] for one in pipeline.monitor.waiting.view()]


def with_topic(overrides: list[str], *, partitions: int = 1) -> Config:
    """Return the configuration that `overrides` come to, its topic created."""
    config = load(overrides=overrides)
    create_topic(config.kafka, config.kafka.topic, partitions=partitions)
    return config


def event(number: int, label: str | int | None = None, **fields: Any) -> bytes:
    """Return the value of the record `number`: three words and a label that follows from the first."""
    words = [WORDS[(number * step) % len(WORDS)] for step in (1, 7, 11)]
    text = " ".join([*words, *WORDS[: number % 5]])
    value = {"text": text, "label": label if label is not None else f"label-{number % 3}", "id": f"e{number}"}
    return json.dumps(value | fields).encode()


def send(config: Config, values: Iterable[bytes | None], *, partitions: int = 1) -> None:
    """Send `values` round robin over `partitions` and wait for Kafka to have them."""
    producer = make_producer(config.kafka)
    futures = [
        producer.send(config.kafka.topic, value, key=None if value else b"key", partition=number % partitions)
        for number, value in enumerate(values)
    ]
    for future in futures:
        future.get(timeout=30)
    producer.close()


def surviving_state(directory: Path) -> State:
    """Return the state in the newest checkpoint under a publisher's `directory`."""
    state = next(state for _, state in CheckpointStore(directory / "checkpoints", keep=3).newest())
    assert isinstance(state, dict)
    return state


def dealt_with(config: Config) -> int:
    """Return how many records the newest checkpoint counts, 0 where there is none."""
    directory = config.publisher.directory
    return sum(surviving_state(directory)["counts"].values()) if any(directory.glob("checkpoints/0*")) else 0


def learnt(state: State) -> list[tuple[int, int]]:
    """Return the partition and offset of every event in the buffer of `state`, sorted."""
    return sorted((event.partition, event.offset) for event in state["buffer"]["events"])


def held_out(state: State) -> list[tuple[int, int]]:
    """Return the partition and offset of every event in the hold-out of `state`, sorted."""
    return sorted((event.partition, event.offset) for split in state["holdout"].values() for event in split)
