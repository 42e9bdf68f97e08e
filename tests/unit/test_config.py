from __future__ import annotations

from pathlib import Path

import pytest

from streamlearn.config import load
from streamlearn.errors import ConfigurationError


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("kafka.topc=x", ["'kafka.topc'", "'topic'"]),
        ("updatr.seed=1", ["'updatr'", "'updater'"]),
        ("publisher.checkpoints.keap=3", ["'publisher.checkpoints.keap'", "'keep'"]),
        ("kafka.client.sasl_mechanizm=PLAIN", ["'sasl_mechanizm'", "'sasl_mechanism'"]),
        ("kafka.client.enable_auto_commit=true", ["enable_auto_commit", "decided by streamlearn"]),
        ("kafka.dead_letter_topic=events", ["dead_letter_topic and topic are both 'events'"]),
        ("events.labels=[a, 1]", ["events.labels", "int and str"]),
        ("events.labels=[a, a]", ["twice"]),
        ("events.labels=[]", ["at least one label"]),
        ("updater.learning_rate=fast", ["updater.learning_rate", "'fast'"]),
        ("updater.trains=half", ["updater.trains"]),
        ("publisher.checkpoints.keep=1", ["publisher.checkpoints.keep"]),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_would_be_right(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(overrides=[override])
    for part in parts:
        assert part in str(caught.value)


def test_an_unknown_environment_variable_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key 'kafka\.grup'; did you mean 'group'"):
        load(environment={"STREAMLEARN_KAFKA__GRUP": "x", "PATH": "ignored"})


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"'a'.*'b'"):
        load(overrides=["a=1", "b=2"])


@pytest.mark.parametrize(
    ("content", "part"),
    [("[1]", "holds a list"), ("a: [", "is not valid YAML"), ("kafka: 3", "kafka")],
)
def test_a_file_that_is_no_tree_of_sections_is_refused(tmp_path: Path, content: str, part: str) -> None:
    path = tmp_path / "streamlearn.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=part):
        load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the configuration"):
        load(tmp_path / "nowhere.yaml")


def test_secrets_are_masked_and_kept_as_text() -> None:
    config = load(environment={"STREAMLEARN_KAFKA__CLIENT__SASL_PLAIN_PASSWORD": "0123"})
    assert config.kafka.client["sasl_plain_password"] == "0123"
    assert "0123" not in str(config.masked())


def test_a_number_is_a_fine_name() -> None:
    assert load(overrides=["kafka.topic=2024"]).kafka.topic == "2024"


def test_the_digest_changes_with_what_decides_the_weights_only() -> None:
    plain = load().digest()
    assert load(overrides=["monitor.port=1", "kafka.topic=x"]).digest() == plain
    assert load(overrides=["updater.learning_rate=0.5"]).digest() != plain
