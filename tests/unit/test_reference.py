"""The reference is made of the models: every key is in it with a sentence, and what `init` writes says the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from streamlearn.commands.init import SCHEMA, commented, init, schema_text
from streamlearn.config import Config, load
from streamlearn.config.layers import merge
from streamlearn.config.reference import schema, settings
from streamlearn.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
SETTINGS = list(settings())
VALIDATOR = Draft7Validator(schema())
WITHOUT_UNIT = frozenset(
    {
        *(
            "updater.seed",
            "updater.lora_rank",
            "updater.dropout",
            "updater.learning_rate",
            "updater.head_learning_rate",
        ),
        *("updater.weight_decay", "updater.clip_norm", "updater.regularization", "monitor.drift.delta"),
    }
)
"""Numbers that count nothing."""
GIVEN = [
    "kafka.topic=tickets",
    "kafka.client={security_protocol: SSL, ssl_cafile: /etc/ca.pem}",
    "kafka.schema_registry.url=https://registry:8081",
    "events.format=avro",
    "events.fields={text: [title, body], label: 'header:class'}",
    "events.labels=['yes', 'no']",
    "updater.threads=2",
    "publisher.directory='/var/lib/it is: here'",
    "publisher.checkpoints.every_seconds=0.5",
]


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> set[str]:
    """Return the keys of `tree` that hold values; of what is passed through, the key itself."""
    found = set()
    for name, value in tree.items():
        inner = isinstance(value, dict) and ".".join((*path, name)) not in ("kafka.client", "updater.model_overrides")
        found |= leaves(value, (*path, name)) if inner else {".".join((*path, name))}
    return found


def test_every_key_of_the_tree_is_in_the_reference() -> None:
    whole = Config().model_dump(mode="json")
    whole["kafka"]["schema_registry"] = dict.fromkeys(("url", "username", "password", "ssl_cafile"))
    whole["monitor"] |= {"tls": {"certificate": "", "key": ""}, "basic_auth": {"username": "", "password": ""}}
    assert {setting.key for setting in SETTINGS if not setting.is_section} == leaves(whole)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_each_key_is_explained_in_sentences_and_a_number_has_a_unit(setting: Any) -> None:
    assert re.fullmatch(r"\S.{10,}\.", setting.text), (
        "the text under a setting in streamlearn/config is its description"
    )
    numeric = "number" in setting.values and not setting.values.startswith("`discover`")
    assert numeric == (bool(setting.unit) or setting.key in WITHOUT_UNIT), "a number is Annotated with its Unit"


def test_a_default_in_the_reference_is_what_the_tree_has() -> None:
    for setting in SETTINGS:
        if setting.default is not None and setting.key != "kafka.dead_letter_topic":
            found: Any = Config().model_dump(mode="json")
            for name in setting.key.split("."):
                found = found[name] if found is not None else None
            assert yaml.safe_load(setting.default) == found, setting.key


def test_a_first_configuration_is_the_defaults_and_so_it_is_with_every_comment_of_a_setting_taken_away(
    tmp_path: Path,
) -> None:
    file = tmp_path / "streamlearn.yaml"
    file.write_text(commented({}))
    assert load(file) == load()
    whole = re.sub(r"^( *)#(?=[a-z_]+: )", r"\1", commented({}), flags=re.MULTILINE)
    assert whole.count("\n") == commented({}).count("\n")
    file.write_text(whole)
    assert load(file) == load()
    assert len(yaml.safe_load(whole)["updater"]) == len(Config().model_dump()["updater"])
    assert list(VALIDATOR.iter_errors(yaml.safe_load(whole))) == []


def test_what_is_given_stands_in_the_file_with_the_values_that_it_has(tmp_path: Path) -> None:
    file, beside = init(tmp_path / "mine.yaml", merge(None, {}, GIVEN))
    assert load(file) == load(overrides=GIVEN)
    first, *lines = file.read_text().splitlines()
    assert first == f"# yaml-language-server: $schema={beside.name}"
    assert "--config mine.yaml" in lines[1]
    assert "  topic: tickets" in lines
    assert json.loads(beside.read_text()) == schema()


def test_nothing_that_is_there_is_written_over_but_an_older_schema(tmp_path: Path) -> None:
    init(tmp_path / "one.yaml", {})
    before = (tmp_path / "one.yaml").read_text()
    with pytest.raises(ConfigurationError, match=r"one\.yaml already exists, and was left as it is"):
        init(tmp_path / "one.yaml", {"kafka": {"topic": "x"}})
    assert (tmp_path / "one.yaml").read_text() == before
    (tmp_path / SCHEMA).write_text(schema_text().replace("topic", "older"))
    init(tmp_path / "two.yaml", {})
    assert (tmp_path / SCHEMA).read_text() == schema_text()
    for other in ('{"$id": "of somebody else"}', "[", "[]"):
        (tmp_path / SCHEMA).write_text(other)
        with pytest.raises(ConfigurationError, match="was not written by streamlearn; move it away"):
            init(tmp_path / "three.yaml", {})
        assert (tmp_path / SCHEMA).read_text() == other
    assert not (tmp_path / "three.yaml").exists()
    with pytest.raises(ConfigurationError, match=r"cannot write .*: No such file or directory"):
        init(tmp_path / "nowhere" / "four.yaml", {})


@pytest.mark.parametrize("name", ["deploy/compose/streamlearn.yaml", "streamlearn/local/demo.yaml"])
def test_the_schema_finds_the_examples_right(name: str) -> None:
    assert list(VALIDATOR.iter_errors(yaml.safe_load((ROOT / name).read_text()))) == []


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"kafka": {"topc": "x"}}, ["kafka"]),
        ({"updater": {"micro_batch": 0}}, ["updater", "micro_batch"]),
        ({"updater": {"experts": "tune"}}, ["updater", "experts"]),
        ({"publisher": {"snapshots": {"keep": "all"}}}, ["publisher", "snapshots", "keep"]),
    ],
)
def test_the_schema_finds_mistakes_where_they_are(tree: dict[str, Any], path: list[str]) -> None:
    def deepest(error: Any) -> list[Any]:
        inner = [deepest(part) for part in error.context or ()]
        return max([list(error.absolute_path), *inner], key=len)

    (error,) = VALIDATOR.iter_errors(tree)
    assert deepest(error) == path


def test_the_command_writes_both_and_refuses_a_wrong_or_secret_setting_in_one_sentence(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streamlearn", "init", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = run("--set", "kafka.topic=tickets")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "wrote streamlearn.yaml",
        "wrote streamlearn.schema.json",
        "next: streamlearn check --config streamlearn.yaml",
    ]
    assert load(tmp_path / "streamlearn.yaml").kafka.topic == "tickets"
    assert run().returncode == 2
    for setting, said in (("kafka.topc=x", "unknown key"), ("kafka.client.sasl_plain_password=x", "command line")):
        done = run("other.yaml", "--set", setting)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
    assert not (tmp_path / "other.yaml").exists()
    assert run("--schema").stdout == schema_text()
