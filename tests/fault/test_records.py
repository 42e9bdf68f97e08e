"""Many more records than make test has time for, each of which ends in exactly one place."""

from __future__ import annotations

from pathlib import Path

from streamlearn.local.broker import Broker
from tests.integration.conftest import settings
from tests.integration.learner import with_topic
from tests.integration.test_records import assert_every_record_ends_in_one_place

EXAMPLES = 200  # of some thirty records


def test_of_thousands_of_records_each_ends_in_one_place(broker: Broker, tiny_model: Path, tmp_path: Path) -> None:
    config = with_topic(settings(broker, "records", tiny_model, tmp_path))
    course = assert_every_record_ends_in_one_place(config, examples=EXAMPLES)
    assert course.accepted > EXAMPLES
    assert course.whole > EXAMPLES
