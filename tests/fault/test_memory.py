"""What a learner takes in memory is bounded by its settings, whatever is in the topic."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from benchmarks.memory import BOUND, INPUTS, growth, growth_in_recovery, settings
from streamlearn.config import load
from streamlearn.local.broker import Broker


@pytest.fixture
def overrides(apache_kafka: Broker, tiny_model: Path, tmp_path: Path) -> list[str]:
    return settings(apache_kafka, f"memory-{tmp_path.name}", tiny_model, tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(INPUTS.keys() - {"one_record"}))
def test_records_that_are_large_only_when_decompressed_are_taken_in_bounded_pieces(
    overrides: list[str], name: str
) -> None:
    assert growth(overrides, name) < BOUND


@pytest.mark.timeout(300)
def test_recovery_beside_a_backlog_of_large_records_holds_few_of_them(overrides: list[str]) -> None:
    assert growth_in_recovery(overrides) < BOUND


@pytest.mark.timeout(300)
def test_a_record_that_is_too_large_for_memory_is_a_dead_letter_that_says_so(overrides: list[str]) -> None:
    assert growth(overrides, "one_record") < BOUND
    kafka = load(overrides=overrides).kafka
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(kafka.dead_letter_topic, 0)])
    ((record,),) = consumer.poll(timeout_ms=10_000).values()
    consumer.close()
    headers = dict(record.headers)
    assert (record.key, record.value) == (b"k", None)
    assert headers["streamlearn.reason"] == b"record_too_large"
    assert headers["streamlearn.value_length"] == str(200 * 2**20).encode()
