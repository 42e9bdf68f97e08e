"""Every codec of Kafka's is read; where one is missing, a sentence says what to install."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.commands.check import check
from streamlearn.config import Config, load
from streamlearn.consumer.client import make_producer
from streamlearn.errors import ConfigurationError
from streamlearn.local.broker import Broker
from tests.conftest import without
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, send, with_topic

CODECS = ["gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def broker(apache_kafka: Broker) -> Broker:
    """The development broker does not keep what is compressed as it is."""
    return apache_kafka


def send_compressed(config: Config, codec: str, values: list[bytes]) -> None:
    producer = make_producer(config.kafka, compression_type=codec)
    for value in values:
        producer.send(config.kafka.topic, value)
    producer.close()


def test_what_is_compressed_with_any_codec_is_learnt(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    for number, codec in enumerate(CODECS):
        send_compressed(config, codec, [event(10 * number + n) for n in range(10)])
    learner = start_learner("events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", 10 * len(CODECS), outcome="trained")
    assert learner.terminate() == 0


def test_check_reads_records_and_says_what_they_are(config: Config, overrides: list[str]) -> None:
    topic = load(overrides=overrides)
    found = next(finding for finding in check(topic) if finding.subject == "broker and topic")
    assert found.found.endswith("it holds no record yet")
    send(config, [b"12,late again,complaint", *[event(n) for n in range(5)]])
    found = next(finding for finding in check(topic) if finding.subject == "broker and topic")
    assert found.found.endswith("2 of its records were read: 1 events, refused 1 not_json")


@pytest.mark.parametrize("codec", CODECS[1:])
def test_where_a_codec_is_missing_check_and_run_say_what_to_install(
    codec: str, broker: Broker, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = settings(broker, f"missing-{codec}", tiny_model, tmp_path)
    config = with_topic(overrides)
    send_compressed(config, codec, [event(n) for n in range(5)])
    monkeypatch.setattr(f"kafka.codec.has_{codec}", lambda: False)
    finding = next(check(config))
    assert isinstance(finding.error, ConfigurationError)
    assert f"pip install 'kafka-python[{codec}]'" in finding.found


def test_run_without_a_codec_ends_with_one_sentence_that_says_what_to_install(
    config: Config, overrides: list[str], tmp_path: Path
) -> None:
    send_compressed(config, "zstd", [event(n) for n in range(5)])
    done = without(tmp_path, ["zstandard"], "run", *(f"--set={override}" for override in overrides))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"streamlearn: there are records in {config.kafka.topic} that are compressed with zstd, which cannot be read "
        "here; pip install 'kafka-python[zstd]' brings it"
    )
