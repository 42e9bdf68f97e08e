"""Fixtures of the integration tier: topics, configurations and learner processes on a real broker."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.integration.learner import LearnerProcess, learners, with_topic

NUMBERS = itertools.count()


@pytest.fixture
def topic() -> str:
    """The name of a topic that no other test uses."""
    return f"events-{next(NUMBERS)}"


@pytest.fixture
def overrides(broker: Broker, topic: str, tiny_model: Path, tmp_path: Path) -> list[str]:
    """The settings of a learner of the tiny model on `broker`, its state in `tmp_path`."""
    return settings(broker, topic, tiny_model, tmp_path)


def settings(broker: Broker, topic: str, model: Path, directory: Path) -> list[str]:
    """Return the overrides of a learner whose every trained event stays in its buffer."""
    return [
        f"kafka.bootstrap_servers={broker.bootstrap_servers}",
        f"kafka.topic={topic}",
        f"kafka.group={topic}",
        "kafka.connect_timeout_seconds=15",
        f"updater.model={model}",
        "updater.micro_batch=16",  # few steps: each has a checkpoint or a snapshot soon
        "updater.max_wait_seconds=0.2",
        "updater.threads=1",
        "buffer.policy=recent",
        f"publisher.directory={directory / 'state'}",
        "publisher.checkpoints.every_steps=5",
        "publisher.snapshots.every_steps=20",
        "monitor.port=0",
    ]


@pytest.fixture
def config(overrides: list[str]) -> Config:
    """The configuration of `overrides`, its topic created with one partition."""
    return with_topic(overrides)


@pytest.fixture
def start_learner(overrides: list[str]) -> Iterator[Callable[..., LearnerProcess]]:
    """Start ``streamlearn run`` as a process of its own; whatever still runs at the end is killed."""
    with learners(overrides) as start:
        yield start
