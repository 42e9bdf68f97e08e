"""Many more records than make test has time for, each of which ends in exactly one place."""

from __future__ import annotations

from pathlib import Path

from streamlearn.config import load
from streamlearn.consumer.client import create_topic
from streamlearn.local.broker import Broker
from tests.integration.conftest import settings
from tests.integration.test_records import assert_every_record_ends_in_one_place

EXAMPLES = 200  # of some thirty records


def test_of_thousands_of_records_each_ends_in_one_place(broker: Broker, tiny_model: Path, tmp_path: Path) -> None:
    config = load(overrides=settings(broker, "records", tiny_model, tmp_path))
    create_topic(config.kafka, "records")
    course = assert_every_record_ends_in_one_place(config, examples=EXAMPLES)
    assert course.accepted > EXAMPLES
    assert course.whole > EXAMPLES
