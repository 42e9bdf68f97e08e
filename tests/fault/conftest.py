"""Fixtures of the fault tier: a broker that stays, and streams that every learner of a test reads anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlearn.local.broker import ApacheKafka, Broker
from tests.fault.streams import learner_settings, stream
from tests.fault.victim import exit_code, start
from tests.integration.learner import send, with_topic


@pytest.fixture(scope="session")
def broker(one_broker: Broker) -> Broker:
    """Apache Kafka where there is one, the development broker otherwise."""
    return one_broker


@pytest.fixture
def own_broker() -> Iterator[ApacheKafka]:
    """An Apache Kafka that nobody else uses."""
    if not os.environ.get("KAFKA_HOME"):
        pytest.skip("KAFKA_HOME names no Apache Kafka")
    with ApacheKafka(Path(os.environ["KAFKA_HOME"])).start() as broker:
        yield broker


@pytest.fixture(scope="session")
def ended(broker: Broker, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The settings of a learner that has learnt a stream in fifty steps, published snapshots and ended."""
    settings = [
        *learner_settings(broker, "ended", tiny_model, tmp_path_factory.mktemp("ended")),
        "publisher.checkpoints.keep=1000",
        "publisher.snapshots.keep=20",
    ]
    config = with_topic(settings)
    records = list(stream(200))
    send(config, records)
    assert exit_code(start(settings, until=len(records))) == 0
    return settings
