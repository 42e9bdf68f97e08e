"""The commands as a person types them: what they print, and how they end when something is wrong."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.commands.check import looks
from streamlearn.config import Config, load
from streamlearn.local.broker import Broker
from tests.conftest import fill
from tests.forked import run as streamlearn
from tests.integration.learner import LearnerProcess, event, send


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """A running broker; a command says the same on either kind."""
    return one_broker


def assert_one_sentence(done: subprocess.CompletedProcess[str], exit_code: int, *parts: str) -> None:
    """`done` ended with `exit_code` and one line on standard error that contains `parts`."""
    assert done.returncode == exit_code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("streamlearn: ")]
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in line


def sets(overrides: list[str]) -> list[str]:
    return [f"--set={override}" for override in overrides]


def test_an_unknown_key_is_named_with_the_nearest_one() -> None:
    assert_one_sentence(streamlearn("run", "--set", "kafka.topc=x"), 2, "'kafka.topc'", "'topic'")


def test_a_mix_of_label_types_is_refused() -> None:
    assert_one_sentence(streamlearn("run", "--set", "events.labels=[spam, 1]"), 2, "events.labels", "int and str")


def test_an_unreachable_broker_is_exit_code_3(tmp_path: Path) -> None:
    settings = ["kafka.bootstrap_servers=127.0.0.1:1", "kafka.connect_timeout_seconds=1", "monitor.port=0"]
    done = streamlearn("run", *sets([*settings, f"publisher.directory={tmp_path}"]))
    assert_one_sentence(done, 3, "no Kafka broker answers at 127.0.0.1:1")


def test_a_missing_topic_is_exit_code_3(overrides: list[str], topic: str) -> None:
    assert_one_sentence(streamlearn("run", *sets(overrides)), 3, f"has no topic '{topic}'", "create it")


def test_where_the_log_is_json_so_is_its_last_line(overrides: list[str]) -> None:
    nowhere = ["kafka.bootstrap_servers=127.0.0.1:1", "kafka.connect_timeout_seconds=1", "monitor.log_format=json"]
    done = streamlearn("run", *sets([*overrides, *nowhere]))
    assert done.returncode == 3
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["level"] == "CRITICAL"
    assert last["message"].startswith("streamlearn: no Kafka broker answers at 127.0.0.1:1")


@pytest.mark.parametrize("model", ["/no/such/model", "no-such-organisation/no-such-model"])
def test_a_missing_model_is_exit_code_2(config: Config, overrides: list[str], model: str) -> None:
    del config
    assert_one_sentence(streamlearn("run", *sets([*overrides, f"updater.model={model}"])), 2, model)


def test_an_unwritable_directory_is_exit_code_4(overrides: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = streamlearn("run", *sets([*overrides, f"publisher.directory={tmp_path / 'file' / 'state'}"]))
    assert_one_sentence(done, 4, "cannot be written")


def test_state_of_which_no_checkpoint_is_whole_is_exit_code_4(config: Config, overrides: list[str]) -> None:
    checkpoint = config.publisher.directory / "checkpoints" / f"{7:012d}-{0:08d}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{")
    assert_one_sentence(streamlearn("run", *sets(overrides)), 4, "none of the checkpoints", "000000000007-00000000")


def test_a_learner_of_another_group_on_the_same_directory_is_refused(
    config: Config, overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [event(n) for n in range(20)])
    start_learner().wait_for("streamlearn_steps_total", 1)
    other = streamlearn("run", *sets([*overrides, "kafka.group=other"]))
    assert_one_sentence(other, 4, f"holds the state of group {config.kafka.group} of topic", "of its own")


def test_check_ticks_what_is_in_order_and_says_what_to_do_about_the_rest(config: Config, overrides: list[str]) -> None:
    done = streamlearn("check", *sets(overrides))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == len(looks()) + 1  # and the configuration
    missing = streamlearn("check", *sets([*overrides, "kafka.topic=nowhere"]))
    assert missing.returncode == 3
    assert f"✗ broker and topic: Kafka at {config.kafka.bootstrap_servers} has no topic 'nowhere'" in missing.stdout


def test_check_waits_once_for_a_broker_that_does_not_answer(tiny_model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        broker = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = [f"kafka.bootstrap_servers={broker}", "kafka.connect_timeout_seconds=2"]
        settings += [f"updater.model={tiny_model}", f"publisher.directory={tmp_path}"]
        done = streamlearn("check", "--json", *sets(settings))
    assert done.returncode == 3
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["broker and topic"]["found"] == f"no Kafka broker answers at {broker} within 2 s"
    assert findings["dead-letter topic"]["found"] == "not looked at, because Kafka does not answer"
    assert [findings[subject]["ok"] for subject in ("broker and topic", "dead-letter topic", "model", "directory")] == [
        False,
        None,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("kafka.client.sasl_plain_password=hunter2", "STREAMLEARN_KAFKA__CLIENT__SASL_PLAIN_PASSWORD_FILE"),
        ("monitor.basic_auth={username: a, password: hunter2}", "STREAMLEARN_MONITOR__BASIC_AUTH__PASSWORD_FILE"),
        ("kafka.client.proxy_url=socks5://user:hunter2@h:1", "STREAMLEARN_KAFKA__CLIENT__PROXY_URL"),
    ],
)
def test_a_secret_on_the_command_line_is_refused(override: str, names: str) -> None:
    done = streamlearn("check", *sets([override]))
    assert_one_sentence(done, 2, "everybody on this machine can read a command line", names)
    assert "hunter2" not in done.stdout + done.stderr


def test_check_says_that_the_disk_is_full(config: Config, overrides: list[str], disk: Path) -> None:
    del config
    fill(disk)
    done = streamlearn("check", *sets([*overrides, f"publisher.directory={disk / 'state'}"]))
    assert done.returncode == 4
    assert "cannot be written: No space left on device" in done.stdout


def test_check_prints_json_with_secrets_masked(
    config: Config, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del config
    monkeypatch.setenv("STREAMLEARN_KAFKA__CLIENT__SASL_PLAIN_PASSWORD", "hunter2")
    done = streamlearn("check", "--json", *sets(overrides))
    assert "hunter2" not in done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["configuration"]["kafka"]["client"]["sasl_plain_password"] == "***"
    assert all(finding["ok"] for finding in result["findings"])


def test_a_secret_on_the_command_line_is_refused_and_not_repeated() -> None:
    done = streamlearn("check", "--set", "kafka.client.sasl_plain_password=hunter2")
    assert done.returncode == 2
    assert "STREAMLEARN_KAFKA__CLIENT__SASL_PLAIN_PASSWORD_FILE" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_what_produce_sends_is_learnt_and_predict_uses_it(
    config: Config, overrides: list[str], tmp_path: Path, start_learner: Callable[..., LearnerProcess]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(event(n, label="spam") for n in range(40)) + b"\n\n")
    done = streamlearn("produce", str(file), "--json", "--rate", "1000", *sets(overrides))
    assert json.loads(done.stdout) == {"sent": 40, "topic": config.kafka.topic}
    for number, standard_input in ((40, []), (41, ["-"])):
        piped = streamlearn("produce", *standard_input, *sets(overrides), stdin=event(number, label="spam").decode())
        assert piped.stdout == f"sent 1 line to {config.kafka.topic}\n"
    learner = start_learner("events.holdout_ratio=0")
    learner.wait_for("streamlearn_events_total", 42, outcome="trained")
    assert learner.terminate() == 0
    directory = f"--set=publisher.directory={config.publisher.directory}"
    found = streamlearn("predict", "--json", directory, "late refund")
    assert json.loads(found.stdout)["label"] == "spam"
    lines = streamlearn("predict", directory, stdin="late refund\nmoon launch\n").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["spam", "spam"]


def test_snapshots_are_listed_shown_and_verified(config: Config, start_learner: Callable[..., LearnerProcess]) -> None:
    send(config, [event(n) for n in range(60)])
    learner = start_learner("publisher.snapshots.every_steps=1")
    learner.wait_for("streamlearn_snapshot_version", 2)
    assert learner.terminate() == 0
    directory = f"--set=publisher.directory={config.publisher.directory}"
    listed = json.loads(streamlearn("snapshots", "list", "--json", directory).stdout)
    assert [m["version"] for m in listed if m["latest"]] == [listed[-1]["version"]]
    assert json.loads(streamlearn("snapshots", "show", "--json", directory).stdout)["parent"] == listed[-2]["version"]
    assert streamlearn("snapshots", "verify", directory).returncode == 0
    (Path(listed[-1]["path"]) / "config.json").write_text("{}")
    assert_one_sentence(streamlearn("snapshots", "verify", directory), 4, "config.json is not what was written")
    assert_one_sentence(streamlearn("snapshots", "show", "99", directory), 4, "no snapshot '99'")


def test_configuration_comes_from_the_file_then_the_environment_then_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "streamlearn.yaml"
    file.write_text("kafka: {topic: file, group: file, dead_letter_topic: file-dead}")
    environment = {"STREAMLEARN_KAFKA__GROUP": "environment", "STREAMLEARN_KAFKA__DEAD_LETTER_TOPIC": "environment"}
    kafka = load(file, environment=environment, overrides=["kafka.dead_letter_topic=line"]).kafka
    assert (kafka.topic, kafka.group, kafka.dead_letter_topic) == ("file", "environment", "line")


def test_every_command_has_help_with_an_example() -> None:
    for command in (
        "run",
        "demo",
        "produce",
        "check",
        "predict",
        "snapshots list",
        "snapshots show",
        "snapshots verify",
        "rebuild",
        "compare",
    ):
        done = streamlearn(*command.split(), "--help")
        assert done.returncode == 0
        assert "Example: " in done.stdout
