"""Any tree of settings loads and can be built from, or is refused with one sentence; what is secret stays so."""

from __future__ import annotations

import json
import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from streamlearn import masking
from streamlearn.buffer import make_buffer
from streamlearn.checkpointing.fence import Fence
from streamlearn.cli.options import configuration
from streamlearn.config import Config, load
from streamlearn.config.plain import MOST_LEVELS
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.queue import ArrivalQueue
from streamlearn.errors import ConfigurationError
from streamlearn.learner.admission import Admission
from streamlearn.learner.evaluation.drift import RiseDetector
from streamlearn.learner.evaluation.holdout import HoldOut
from streamlearn.learner.evaluation.prequential import PrequentialAccuracy
from streamlearn.masking import HARMLESS, is_secret
from streamlearn.terminal import as_json

LONGEST_SENTENCE = 3000

TEXTS = (
    st.sampled_from(
        ["", " ", "a", "0123", "1e5", "yes", "null", "~", "12:30", "2024-01-01", "a\nb", "\x1b[2J", "\u202e", "a\x00"]
    )
    | st.sampled_from(
        ["x" * 300, "/", "..", "*a", "&a", "!x", "@x", "%x", "a: b", "h:9092", "u:p@h:1", "discover", "é" * 200]
    )
    | st.text(st.characters(codec="utf-8"), max_size=12)
)
NUMBERS = (
    st.sampled_from([0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 10**12, 100_000])
    | st.sampled_from([0.0, 1.0, -1.5, 1e300, 1e-300, float("inf"), float("-inf"), float("nan")])
    | st.integers(-10, 300)
    | st.floats(0.0, 2.0)
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
DEEP = st.integers(1, 2 * MOST_LEVELS).map(lambda levels: json.loads("[" * levels + "]" * levels))
OPTIONS = [
    "session_timeout_ms",
    "ssl_check_hostname",
    "sasl_mechanism",
    "ssl_context",
    "acks",
    "proxy_url",
    "api_version",
    "retries",
]


def kinds(annotation: Any) -> list[Any]:
    return list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else [annotation]


def values(annotation: Any, default: Any) -> st.SearchStrategy[Any]:
    """Return values for a setting: such as fit, such as do not, and what no setting is."""
    for kind in kinds(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return trees(kind) | JUNK
    if annotation == dict[str, Any]:
        return st.dictionaries(st.sampled_from(OPTIONS) | TEXTS, JUNK, max_size=3) | JUNK
    given = "x" if default is PydanticUndefined else str(default) if isinstance(default, Path) else default
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    return st.sampled_from([given, *choices]) | LEAVES | JUNK | DEEP


def trees(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """Return trees with any of the settings of `model`, and now and then one that it does not have."""
    known = {
        name: values(field.annotation, field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
    }
    own = st.fixed_dictionaries({}, optional=known)
    return st.tuples(own, st.dictionaries(TEXTS, LEAVES, max_size=1) | st.just({})).map(lambda two: two[1] | two[0])


TREES = trees(Config)


@st.composite
def sources(draw: st.DrawFn) -> dict[str, Any]:
    """Return a file's content, an environment and overrides that together hold a tree, damaged now and then."""
    tree = draw(TREES)
    style = draw(st.sampled_from(["block", "flow", "json"]))
    text = json.dumps(tree) if style == "json" else yaml.safe_dump(tree, default_flow_style=style == "flow")
    if draw(st.booleans()):
        index = draw(st.integers(0, len(text)))
        extra = st.sampled_from(
            ["&a ", "*a ", "<<: *a\n", "!!python/name:os.system ", "!x ", "- ", "\t", "\x00", '"', "\n? ", "[{"]
        )
        text = text[:index] + draw(extra) + text[index:]
    leaves = list(paths(draw(TREES)))
    environment, overrides = {}, []
    for path, value in draw(st.lists(st.sampled_from(leaves), max_size=3)) if leaves else []:
        written = value if isinstance(value, str) else json.dumps(value)
        if draw(st.booleans()):
            environment["STREAMLEARN_" + "__".join(path).upper()] = written
        else:
            overrides.append(f"{'.'.join(path)}={written}")
    return {"text": text, "environment": environment, "overrides": overrides}


def paths(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from paths(value, (*path, str(name)))
    elif path:
        yield path, tree


def assert_usable(config: Config, directory: Path) -> None:
    """Everything that needs neither Kafka nor a model can be made of `config`."""
    Decoder(config.events)
    Admission(config.events)
    HoldOut(config.events.holdout_records)
    make_buffer(config.buffer, seed=config.updater.seed)
    PrequentialAccuracy(config.monitor.accuracy_window)
    RiseDetector(config.monitor.drift)
    ArrivalQueue(records=config.kafka.queue_records, bytes=config.kafka.queue_bytes)
    Fence(directory / "state", source=f"group {config.kafka.group} of topic {config.kafka.topic}").check()
    os.fspath(config.publisher.directory / "snapshots").encode()
    assert json.loads(as_json(config.masked()))
    assert Config.model_validate(config.model_dump() | config.decisive()).decisive() == config.decisive()
    assert len(config.digest()) == 64


def assert_one_sentence(error: ConfigurationError, *, without: str = "Traceback") -> None:
    assert error.exit_code == 2
    assert 0 < len(str(error)) < LONGEST_SENTENCE
    assert "\n" not in str(error)
    assert without not in str(error)


@settings(max_examples=150)
@given(given=sources())
def test_any_tree_of_settings_loads_or_is_refused_with_one_sentence(
    given: dict[str, Any], tmp_path_factory: Any
) -> None:
    directory = tmp_path_factory.getbasetemp()
    file = directory / "any.yaml"
    file.write_text(given["text"], encoding="utf-8", errors="replace")
    try:
        config = load(file, environment=given["environment"], overrides=given["overrides"])
    except ConfigurationError as error:
        assert_one_sentence(error)
    else:
        assert_usable(config, directory)


def places(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every setting and section, and some in those that are passed through."""
    for name, field in model.model_fields.items():
        yield (*path, name)
        for kind in kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from places(kind, (*path, name))
        if field.annotation == dict[str, Any]:
            yield from ((*path, name, option) for option in (*OPTIONS, "sasl_plain_password", "hub_token", "anything"))


PLACES = sorted(set(places(Config)))
SECRETS = st.text("abcdefghijkABCDEFGHIJK0123456789-_", min_size=8, max_size=24).map(lambda text: f"Q7{text}")
WRAPPED = {
    "plain": lambda secret: secret,
    "list": lambda secret: [secret, 1],
    "nested": lambda secret: {"more": [{"password": secret}]},
    "key": lambda secret: {secret: 1},
    "url": lambda secret: f"https://somebody:{secret}@host:1/x?token={secret}",
    "address": lambda secret: f"somebody:{secret}@host:9092",
    "token in a URL": lambda secret: f"https://{secret}@host/",
}


def is_shown(path: tuple[str, ...], how: str) -> bool:
    """Whether what stands at `path` is shown as it is, because it is the text of a setting that is no secret."""
    passed_through = path[:2] in {("kafka", "client"), ("updater", "model_overrides")}
    harmless = passed_through and len(path) > 2 and path[2] in HARMLESS and path[:2] == ("kafka", "client")
    return how in ("plain", "list") and not is_secret(path[-1]) and (harmless or not passed_through)


@settings(max_examples=200)
@given(
    secret=SECRETS,
    path=st.sampled_from(PLACES),
    how=st.sampled_from(sorted(WRAPPED)),
    source=st.sampled_from(["file", "environment", "override"]),
    broken=st.sampled_from(["", "@", "!", "*", "[", "a: b: ", '"']),
)
def test_a_secret_at_any_place_of_the_tree_is_never_shown(
    secret: str, path: tuple[str, ...], how: str, source: str, broken: str, tmp_path_factory: Any
) -> None:
    masking._hidden.clear()
    given = WRAPPED[how](secret)  # type: ignore[no-untyped-call]
    file, environment, overrides = None, {}, []
    if source == "file":
        tree: Any = given
        for name in reversed(path):
            tree = {name: tree}
        file = tmp_path_factory.getbasetemp() / "secret.yaml"
        text = yaml.safe_dump(tree, width=10**6)
        file.write_text(text.replace(": " + secret, f": {broken}{secret}"))
    elif source == "environment":
        environment["STREAMLEARN_" + "__".join(path).upper()] = broken + json.dumps(given)
    else:
        overrides.append(f"{'.'.join(path)}={broken}{json.dumps(given)}")
    try:
        configuration(None, overrides)  # as the command line reads it
        config = load(file, environment=environment, overrides=overrides)
    except ConfigurationError as error:
        assert_one_sentence(error, without=secret)
    else:
        written = json.dumps(config.decisive())
        if not is_shown(path, "plain" if broken and source != "file" else how):
            assert secret not in as_json(config.masked())
        if how in ("nested", "url", "address", "token in a URL") or is_secret(path[-1]):
            assert f"{secret}@" not in written
            assert f'"password": "{secret}"' not in written
