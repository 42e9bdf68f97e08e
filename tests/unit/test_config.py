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


def test_what_a_url_says_of_its_user_is_masked_wherever_it_stands() -> None:
    in_a_list = "updater.model_overrides={more: [{password: hunter2}]}"
    config = load(overrides=["kafka.client.proxy_url=socks5://user:hunter2@h:1", in_a_list])
    assert "hunter2" not in str(config.masked())
    assert config.masked()["kafka"]["client"]["proxy_url"] == "socks5://***@h:1"


@pytest.mark.parametrize(
    "given",
    [
        {"STREAMLEARN_MONITOR__BASIC_AUTH": "{password: hunter2}"},
        {"STREAMLEARN_MONITOR__BASIC_AUTH": "a:hunter2"},
        {"STREAMLEARN_KAFKA__CLIENT": "{password: hunter2"},
        {"STREAMLEARN_KAFKA": "[hunter2]"},
    ],
)
def test_a_mistake_is_named_without_the_secret_beside_it(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environment=given)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("secret", ["@hunter2", "hun: hunter2", "[hunter2", "\x00hunter2"])
def test_a_file_that_is_no_yaml_is_named_without_the_secret_in_it(tmp_path: Path, secret: str) -> None:
    path = tmp_path / "streamlearn.yaml"
    path.write_text(f"kafka:\n  client:\n    sasl_plain_password: {secret}\n")
    with pytest.raises(ConfigurationError, match="is not valid YAML") as caught:
        load(path)
    assert "hunter2" not in str(caught.value)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("01 23\n")
    config = load(
        environment={
            "STREAMLEARN_KAFKA__CLIENT__SASL_PLAIN_PASSWORD_FILE": str(tmp_path / "secret"),
            "STREAMLEARN_MONITOR__BASIC_AUTH__PASSWORD_FILE": str(tmp_path / "secret"),
            "STREAMLEARN_MONITOR__BASIC_AUTH__USERNAME": "prometheus",
        }
    )
    assert config.kafka.client["sasl_plain_password"] == "01 23"
    assert config.monitor.basic_auth
    assert config.monitor.basic_auth.password.get_secret_value() == "01 23"
    assert "01 23" not in str(config.masked()) + repr(config.monitor)


def test_a_secret_that_cannot_be_read_is_named_and_a_file_for_what_is_no_secret_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"PASSWORD_FILE: cannot read the secret in .*nowhere"):
        load(environment={"STREAMLEARN_MONITOR__BASIC_AUTH__PASSWORD_FILE": str(tmp_path / "nowhere")})
    with pytest.raises(ConfigurationError, match=r"unknown key 'kafka\.topic_file'"):
        load(environment={"STREAMLEARN_KAFKA__TOPIC_FILE": "x"})


def test_an_unknown_key_of_an_optional_section_is_named_too() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key 'monitor\.tls\.certificat'; did you mean 'certificate'"):
        load(overrides=["monitor.tls={certificat: a, key: b}"])


def test_a_number_is_a_fine_name() -> None:
    assert load(overrides=["kafka.topic=2024"]).kafka.topic == "2024"


def test_the_digest_changes_with_what_decides_the_weights_only() -> None:
    plain = load().digest()
    assert load(overrides=["monitor.port=1", "kafka.topic=x"]).digest() == plain
    assert load(overrides=["updater.learning_rate=0.5"]).digest() != plain
