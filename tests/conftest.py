"""What every tier of tests starts from: a tiny model, brokers by kind, and configurations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from streamlearn.local.broker import ApacheKafka, Broker, NoidaDB
from streamlearn.local.tiny import save_tiny_model

settings.register_profile("streamlearn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("streamlearn")  # how fast the machine is decides no test


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and a vocabulary of some forty words, saved as a hub model is."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny-bert"))


def brokers() -> list[str]:
    """The kinds of broker of this run: Apache Kafka where KAFKA_HOME names one, and the development broker."""
    return [*(["apache"] if os.environ.get("KAFKA_HOME") else []), "noida"]


@pytest.fixture(scope="session")
def brokers_by_kind() -> Iterator[dict[str, Broker]]:
    started: dict[str, Broker] = {}
    yield started
    for broker in started.values():
        broker.close()


@pytest.fixture(params=brokers())
def broker(request: pytest.FixtureRequest, brokers_by_kind: dict[str, Broker]) -> Broker:
    """A running broker; each kind of it is started once a session."""
    return started(request.param, brokers_by_kind)


@pytest.fixture
def apache_kafka(brokers_by_kind: dict[str, Broker]) -> Broker:
    """A running Apache Kafka, for what the development broker does not have."""
    if not os.environ.get("KAFKA_HOME"):
        pytest.skip("KAFKA_HOME names no Apache Kafka")
    return started("apache", brokers_by_kind)


def started(kind: str, by_kind: dict[str, Broker]) -> Broker:
    """Return the broker of `kind` in `by_kind`, started there first where it is missing."""
    if kind not in by_kind:
        by_kind[kind] = (ApacheKafka(Path(os.environ["KAFKA_HOME"])) if kind == "apache" else NoidaDB()).start()
    return by_kind[kind]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on which broker how many integration tests ran."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("passed", []):
        if "tests/integration" in report.nodeid and report.when == "call":
            kind = "noida-db" if "[noida" in report.nodeid else "Apache Kafka" if "apache" in report.keywords else ""
            counts[kind or "no broker"] = counts.get(kind or "no broker", 0) + 1
    for kind, count in sorted(counts.items()):
        terminalreporter.write_line(f"integration tests passed on {kind}: {count}")
