from __future__ import annotations

import os
import subprocess
import time
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
        ("updater.experts=tune", ["updater.experts: this is a tier", "or a list of experts", "did you mean 'tuned'?"]),
        ("updater.experts=naive_bayes", ["updater.experts: this is a tier", "such as [naive_bayes, transformer]"]),
        ("updater.experts=[]", ["updater.experts: this is a tier", "or a list of experts"]),
        ("publisher.checkpoints.keep=1", ["publisher.checkpoints.keep"]),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_would_be_right(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(overrides=[override])
    for part in parts:
        assert part in str(caught.value)


def test_an_unknown_environment_variable_is_an_error() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"unknown variable STREAMLEARN_KAFKA__GRUP: there is no setting 'kafka\.grup'; did you mean 'group'",
    ):
        load(environment={"STREAMLEARN_KAFKA__GRUP": "x", "PATH": "ignored"})


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"'a'.*'b'"):
        load(overrides=["a=1", "b=2"])


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("events.fields.id=text", ["events.fields", "text and id have one place"]),
        ('events.fields.id=a"b', ["events.fields.id", "JMESPath", "at character 2", "double quotes"]),
        ("events.fields.text=payload.", ["events.fields.text", "JMESPath", "at character 9"]),
        ("events.fields.text=payload.user-name", ["events.fields.text", "double quotes"]),
        ("events.fields.text='@timestamp'", ["events.fields.text", "double quotes"]),
        ("events.fields.text=" + "(" * 900, ["events.fields.text", "nested too deeply"]),
        ("events.fields.text=" + "[" * 40 + "a" + "]" * 40, ["events.fields.text", "nested more than 32 levels"]),
        ("events.fields.text='joined(a, b)'", ["events.fields.text", "a function that JMESPath does not have"]),
        ("events.fields.text='length(a, b)'", ["events.fields.text", "gives length() 2 arguments, and it takes 1"]),
        ("events.format=cvs", ["events.format"]),
        ("events.format=csv", ["events", "names of its columns"]),
        (
            "events={format: csv, csv: {columns: [text, class]}}",
            ["events", "fields.label names nothing", "csv.columns"],
        ),
        ("events={format: csv, csv: {columns: [text, label, text]}}", ["events", "a column twice"]),
        ("events={format: csv, csv: {columns: [text, label], delimiter: ', '}}", ["csv.delimiter is one character"]),
        ("events.csv.columns=[text, label]", ["events", "format is not csv"]),
        ("events.format=text", ["events", "fields.label names nothing", "key or header:NAME"]),
        ("events={format: text, fields: {text: body, label: key}}", ["events", "fields.text names nothing"]),
        ("events={format: text, decoder: 'a:b'}", ["events", "leave one of them out"]),
        ("events.decoder=shapes", ["events.decoder", "a module and a function in it"]),
        ("events.decoder=./shapes:decode", ["events.decoder", "a module and a function in it"]),
        ("events.fields.label='header:'", ["events.fields.label", "a header's name"]),
        ("events.fields.label=[key, title]", ["events.fields.label", "string"]),
        ("events.fields.text=[]", ["events.fields.text", "at least 1"]),
        ("events.fields.text=[title, body, title]", ["events.fields", "two parts of text have one place"]),
        ("events.fields={text: key, id: key}", ["events.fields", "text and id have one place"]),
        ("events.fields={text: a.b, id: '\"a\".b'}", ["events.fields", "text and id have one place"]),
        ("events.fields={text: 'a[0]', id: 'a[0]'}", ["events.fields", "text and id have one place"]),
        ("updater.seed=99999999999999999999", ["updater.seed", "64 bits"]),
        ("updater.seed=" + "9" * 5000, ["updater.seed", "64 bits"]),
        ("updater.threads=100000", ["updater.threads", "1024", "(got 100000)"]),
        ("updater.threads=yes", ["updater.threads", "true and false"]),
        ("updater.micro_batch=1000000000000", ["updater.micro_batch", "65536"]),
        ("buffer.records=1000000000000", ["buffer.records", "100000000"]),
        ("updater.learning_rate=.inf", ["updater.learning_rate", "finite"]),
        ("updater.learning_rate=.nan", ["updater.learning_rate", "finite"]),
        ("updater.max_wait_seconds=1e300", ["updater.max_wait_seconds", "86400"]),
        ("publisher.checkpoints.every_seconds=1e300", ["publisher.checkpoints.every_seconds"]),
        ("kafka.topic=", ["--set kafka.topic is empty"]),
        ("kafka.topic=''", ["kafka.topic", "1 to 249"]),
        ("kafka.topic=a b", ["kafka.topic", "1 to 249"]),
        ("kafka.topic=..", ["kafka.topic", "1 to 249"]),
        ("kafka.topic=" + "x" * 240, ["no room for '.dead-letters'"]),
        ("kafka.topic=1e5", ["kafka.topic", "put it in quotes"]),
        ("kafka.topic=null", ["kafka.topic", "no value", "default"]),
        ("kafka.group=' '", ["kafka.group", "empty"]),
        ("updater.model=''", ["updater.model", "empty"]),
        ("publisher.directory=''", ["publisher.directory", "empty"]),
        ('publisher.directory="a\\0b"', ["publisher.directory", "control character"]),
        ("kafka.bootstrap_servers=h:99999", ["kafka.bootstrap_servers", "host:port"]),
        ("kafka.bootstrap_servers=a..b:1", ["kafka.bootstrap_servers", "host:port"]),
        ("kafka.bootstrap_servers=user:hunter2@h:1", ["kafka.bootstrap_servers", "sasl_plain_username"]),
        ("events.labels=[yes, no]", ["events.labels", "quotes", "['yes', 'no']"]),
        ("events.labels=[null, a]", ["events.labels", "null and str"]),
        ("events.labels=[1.5, 2.5]", ["events.labels", "float"]),
        ("events.labels=['', a]", ["events.labels", "1 to 512"]),
        ('events.labels=["a\\e[2J", b]', ["events.labels", "control"]),
        ('events.labels=["a\\ud800", b]', ["events.labels", "surrogate"]),
        ("events.labels=[9223372036854775807, 99999999999999999999]", ["events.labels", "64 bits"]),
        ("events.labels=spam", ["events.labels", "'discover' or a list"]),
        ("updater.model_overrides={id2label: {0: a}}", ["'id2label'", "events.labels"]),
        ("updater.model_overrides={num_labels: 3}", ["'num_labels'", "events.labels"]),
        ("updater.model_overrides={trust_remote_code: true}", ["'trust_remote_code'"]),
        ("updater.model_overrides={num_hidden_layers: 1000000000000}", ["'num_hidden_layers'", "at most"]),
        ("updater.model_overrides={a: {b: .nan}}", ["updater.model_overrides", "finite"]),
        ("kafka.client.session_timeout_ms=soon", ["'session_timeout_ms' takes a number"]),
        ("kafka.client.ssl_check_hostname=maybe", ["'ssl_check_hostname' takes true or false"]),
        ("kafka.client.ssl_context=x", ["'ssl_context'", "object"]),
        ("monitor.host=a b", ["monitor.host"]),
        ("a..b=1", ["--set", "names no setting"]),
        ("=1", ["section.key=value"]),
        ("kafka.topic", ["section.key=value"]),
    ],
)
def test_what_would_break_later_is_refused_when_it_is_read(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(overrides=[override])
    for part in parts:
        assert part in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"STREAMLEARN_": "x"}, "STREAMLEARN_ names no setting"),
        ({"STREAMLEARN_HOME": "/x"}, "unknown variable STREAMLEARN_HOME: there is no setting 'home'"),
        ({"STREAMLEARN_KAFKA__TOPIC": ""}, "STREAMLEARN_KAFKA__TOPIC is empty"),
        ({"STREAMLEARN_KAFKA": ""}, "STREAMLEARN_KAFKA is empty"),
        ({"STREAMLEARN_UPDATER__SEED": "x"}, "STREAMLEARN_UPDATER__SEED: updater.seed: "),
        ({"STREAMLEARN_KAFKA__TOPIC__X": "y"}, "STREAMLEARN_KAFKA__TOPIC__X: kafka.topic: "),
        ({"STREAMLEARN_KAFKA__TOPIC": "\udcff"}, "STREAMLEARN_KAFKA__TOPIC is not UTF-8"),
        ({"STREAMLEARN_A\nB": "1"}, r"STREAMLEARN_A\nB: there is no setting"),
    ],
)
def test_a_mistake_in_the_environment_is_named_by_its_variable(environment: dict[str, str], part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environment=environment)
    assert part in str(caught.value)


NINE = ", ".join(["*a%d"] * 9)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a: " + "[" * 100_000, "nested more than 32 levels"),
        ("kafka:\n\ttopic: tickets", "it holds a tab; YAML is indented with spaces"),
        ("updater: {model_overrides: " + "{a: " * 40 + "1" + "}" * 41, "nested more than 32 levels"),
        (
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{NINE.replace('%d', str(n - 1))}]\n" for n in range(1, 12)),
            "more than 50,000 values, with its aliases",
        ),
        (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n}: &a{n} {{<<: [{NINE.replace('%d', str(n - 1))}]}}\n" for n in range(1, 12)),
            "more than 50,000 values, with its aliases",
        ),
        ("kafka: &a {client: *a}", "alias of a value that contains it (line 1)"),
        ("kafka:\n  topic: a\n  topic: b", "a key twice in one section (line 3)"),
        ("kafka: {topic: !!python/object/apply:os.system [ls]}", "a tag"),
        ("kafka: {topic: !!binary aGVsbG8=}", "a tag"),
        ("updater: {seed: 99999999999999999999}", "an integer beyond 64 bits (line 1)"),
        ('kafka: {topic: "\\ud800"}', "surrogate"),
        ("? [a]\n: b", "a key that is not a name"),
        ("1: 2", "unknown key"),
        ("# " + "x" * 2**19, "more than 262,144"),
        ("# " + "x" * 2**21, "larger than 1,048,576 bytes"),
    ],
)
def test_yaml_that_would_exhaust_or_confuse_is_refused_at_once(tmp_path: Path, content: str, part: str) -> None:
    path = tmp_path / "streamlearn.yaml"
    path.write_text(content)
    started = time.process_time()
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert part in str(caught.value)
    assert time.process_time() - started < 10  # the bomb takes the age of the universe


def test_what_is_no_file_is_refused_and_a_pipe_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match="neither a file nor a pipe"):
            load(path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/sh", "-c", "echo 'kafka: {topic: piped}' > \"$1\"", "sh", pipe]) as writer:
        assert load(pipe).kafka.topic == "piped"
    assert writer.returncode == 0
    monkeypatch.setattr("streamlearn.config.layers.PIPE_SECONDS", 0.1)
    with pytest.raises(ConfigurationError, match=r"has given nothing for 0\.1 s"):
        load(pipe)


def test_nothing_under_a_section_means_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "streamlearn.yaml"
    path.write_text("kafka:\npublisher:\n  checkpoints:\nmonitor: {basic_auth: null}\n")
    assert load(path) == load()
    assert load(path, overrides=["publisher.checkpoints.keep=7"]).publisher.checkpoints.keep.newest == 7


def test_a_name_that_looks_like_something_else_is_taken_as_it_is_written() -> None:
    for name in ("0123", "2024-01-01", "1_000"):
        assert load(overrides=[f"kafka.topic={name}"]).kafka.topic == name
    assert load(overrides=["events.labels=[010, 2024-01-01]"]).events.labels == ["010", "2024-01-01"]
    assert load(overrides=["updater.model_overrides={eps: 1e-12}"]).updater.model_overrides == {"eps": 1e-12}


def test_no_secret_is_among_what_is_written_to_disk() -> None:
    overrides = (
        "updater.model_overrides={token: hunter2, more: [{api_key: hunter2}], url: 'https://a:hunter2@h/', act: gelu}"
    )
    config = load(overrides=[overrides])
    assert "hunter2" not in str(config.decisive())
    assert config.decisive()["updater"]["model_overrides"]["act"] == "gelu"
    assert config.digest() == load(overrides=[overrides.replace("hunter2", "hunter3")]).digest()


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
    with pytest.raises(ConfigurationError, match=r"there is no setting 'kafka\.topic_file'"):
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
