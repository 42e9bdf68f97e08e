"""Fine-tuning on what a topic retains, and a learner that goes on from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from kafka import TopicPartition

from streamlearn.commands.finetuning import finetune
from streamlearn.config import Config
from streamlearn.consumer.client import make_admin
from streamlearn.errors import ConfigurationError
from streamlearn.local.broker import Broker
from streamlearn.storage.layout import WEIGHTS
from tests.conftest import streamlearn
from tests.integration.conftest import settings
from tests.integration.learner import learners, with_topic
from tests.integration.test_topics import anew
from tests.integration.wire import Sent, put
from tests.unit.labelled import Example, examples, write
from tests.unit.language import settings as language
from tests.unit.test_finetune import written
from tests.unit.test_finetune_language_model import texts

FEW = ["updater.experts=[transformer, naive_bayes, long_memory]", "updater.learning_rate=1e-3"]


@pytest.fixture
def overrides(overrides: list[str]) -> list[str]:
    return [*overrides, *FEW, "events.holdout_ratio=0.2"]


def put_all(config: Config, rows: Sequence[Example]) -> None:
    batch = [Sent(json.dumps(row).encode()) for row in rows]
    put(str(config.kafka.bootstrap_servers), config.kafka.topic, [(batch, "gzip")])


def test_a_topics_past_is_learnt_as_a_file_of_it_is_and_what_came_since_is_left_to_the_stream(
    config: Config, overrides: list[str], tmp_path: Path
) -> None:
    past, since = examples(120), examples(60, seed=1)
    put_all(config, [*past, {"text": "no label"}])
    from_file = finetune(config, write(tmp_path / "train.jsonl", past), output=tmp_path / "file", epochs=1)
    from_topic = finetune(config, None, output=tmp_path / "topic", epochs=1)
    assert written(tmp_path / "topic") == written(tmp_path / "file")
    assert (from_topic.train, from_topic.refused) == (from_file.train, {"missing_field": 1})
    assert from_topic.positions == {f"{config.kafka.topic}/0": 121}
    put_all(config, since)
    assert finetune(config, None, output=tmp_path / "topic", epochs=1) == from_topic
    assert f"the topic {config.kafka.topic}" in (tmp_path / "topic" / "README.md").read_text()
    with make_admin(config.kafka) as admin:
        assert config.kafka.group not in {group["group_id"] for group in admin.list_groups()}
    with learners([*overrides, f"updater.model={tmp_path / 'topic'}"]) as start:
        learner = start()
        learner.wait_until_learning()
        assert learner.terminate() == 0
        assert "and its mixture" in learner.stderr()


def test_a_language_model_learns_the_texts_of_a_topics_past_as_those_of_a_file(
    broker: Broker, topic: str, tiny_language_model: Path, tmp_path: Path
) -> None:
    chosen = [*language(tiny_language_model), "updater.trains=lora"]
    config = with_topic([*settings(broker, topic, tiny_language_model, tmp_path), *chosen])
    past = [*texts(80), {"text": "late again", "label": [1]}]
    put_all(config, [*past, {"label": "no text"}])
    from_file = finetune(config, write(tmp_path / "texts.jsonl", past), output=tmp_path / "file", epochs=2)
    from_topic = finetune(config, None, output=tmp_path / "topic", epochs=2)
    files = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("file", "topic")]
    assert files[0] == files[1]
    assert [one.validation for one in from_topic.epochs] == [one.validation for one in from_file.epochs]
    assert (from_topic.refused, from_topic.positions) == ({"missing_field": 1}, {f"{topic}/0": 82})
    own = [*settings(broker, topic, tmp_path / "topic", tmp_path), *chosen, f"updater.model={tmp_path / 'topic'}"]
    with learners(own) as start:
        learner = start()
        learner.wait_for("streamlearn_bits_per_byte", 0.01)
        assert learner.terminate() == 0, learner.stderr()


class KilledError(Exception):
    """What stands for a kill: tests/fault has real ones."""


def kill(_: object) -> None:
    raise KilledError


def begin(config: Config, output: Path, *, epochs: int = 5) -> None:
    """Send 120 examples, and kill a fine-tuning on them behind its first pass."""
    put_all(config, examples(120))
    with pytest.raises(KilledError):
        finetune(config, None, output=output, epochs=epochs, passed=kill)


def test_one_that_was_killed_reads_up_to_where_the_topic_ended_when_it_began(config: Config, tmp_path: Path) -> None:
    begin(config, tmp_path / "broken", epochs=2)
    put_all(config, examples(60, seed=1))
    outcome = finetune(config, None, output=tmp_path / "broken", epochs=2)
    assert outcome.positions == {f"{config.kafka.topic}/0": 120}
    assert [epoch.number for epoch in outcome.epochs] == [1, 2]


def test_it_goes_on_with_no_other_topic_of_the_same_name(
    apache_kafka: Broker, topic: str, tiny_model: Path, tmp_path: Path
) -> None:
    config = with_topic([*settings(apache_kafka, topic, tiny_model, tmp_path), *FEW, "events.holdout_ratio=0.2"])
    begin(config, tmp_path / "model")
    anew(config, [b"{}"])
    with pytest.raises(ConfigurationError, match="is not the topic that this run was begun with"):
        finetune(config, None, output=tmp_path / "model")


def test_what_retention_has_taken_since_is_said(
    apache_kafka: Broker, topic: str, tiny_model: Path, tmp_path: Path
) -> None:
    config = with_topic([*settings(apache_kafka, topic, tiny_model, tmp_path), *FEW, "events.holdout_ratio=0.2"])
    begin(config, tmp_path / "model")
    with make_admin(config.kafka) as admin:
        admin.delete_records({TopicPartition(topic, 0): 50})
    with pytest.raises(ConfigurationError, match=r"50 offsets of the topic .* have since been deleted"):
        finetune(config, None, output=tmp_path / "model")


def test_what_is_to_be_learnt_is_said_once(tmp_path: Path) -> None:
    both = [["--data", "train.jsonl", "--from-topic"], []]
    for given in both:
        found = streamlearn("finetune", *given, "--output", str(tmp_path / "model"))
        assert found.returncode != 0
        assert found.stderr.strip().endswith("say what to learn: either --data FILE or --from-topic")
