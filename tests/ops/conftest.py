"""Fixtures of the operations tier: learners watched by a real Prometheus and Alertmanager."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, learners, with_topic
from tests.ops.stack import Stack, Target, needs

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def broker(one_broker: Broker) -> Broker:
    """Apache Kafka where there is one, the development broker otherwise."""
    return one_broker


@pytest.fixture
def group() -> str:
    """The name of a topic and group that no other test uses."""
    return f"watched-{next(NUMBERS)}"


@pytest.fixture
def overrides(broker: Broker, group: str, tiny_model: Path, tmp_path: Path) -> list[str]:
    """The settings of a learner of the tiny model that checkpoints every second."""
    return [
        *settings(broker, group, tiny_model, tmp_path),
        "buffer.records=1000",
        "updater.learning_rate=0.003",
        "publisher.checkpoints.every_seconds=1",
        "publisher.snapshots.every_steps=10",
        "monitor.accuracy_window=100",
    ]


@pytest.fixture
def config(overrides: list[str]) -> Config:
    """The configuration of `overrides`, its topic created."""
    return with_topic(overrides)


@pytest.fixture
def start_learner(overrides: list[str], config: Config) -> Iterator[Callable[..., LearnerProcess]]:
    """Start ``streamlearn run`` as a process of its own; whatever still runs at the end is killed."""
    del config  # the topic is there
    with learners(overrides, forked=False) as start:  # runbooks look for it by its command
        yield start


@pytest.fixture
def watch(group: str, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Watch learners with Prometheus and Alertmanager, in a world that is `factor` times faster."""
    needs("prometheus", "prometheus-alertmanager")
    stacks: list[Stack] = []

    def watch(*learners: LearnerProcess, factor: int) -> Stack:
        directory = tmp_path / f"stack-{len(stacks)}"
        directory.mkdir()
        stacks.append(Stack(directory, [Target(learner.port, group) for learner in learners], factor=factor))
        return stacks[-1]

    yield watch
    for stack in stacks:
        stack.close()
