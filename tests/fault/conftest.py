"""Fixtures of the fault tier: a broker that stays, and streams that every learner of a test reads anew."""

from __future__ import annotations

import pytest

from streamlearn.local.broker import Broker
from tests.conftest import brokers, started


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/fault" in item.nodeid:
            item.add_marker(pytest.mark.fault)


@pytest.fixture(scope="session")
def broker(brokers_by_kind: dict[str, Broker]) -> Broker:
    """Apache Kafka where there is one, the development broker otherwise."""
    return started(brokers()[0], brokers_by_kind)
