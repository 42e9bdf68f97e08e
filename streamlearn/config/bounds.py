"""What a setting can be: the types of the tree's leaves, each with the bounds within which everything behind it works.

A bound is far above what anybody has use for, and below what overflows or exhausts something later on: a limit of
Kafka's protocol, of a system call, or of memory.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from streamlearn.config.mistakes import nearest
from streamlearn.config.places import parse
from streamlearn.events import LABELS_FROM, LABELS_TO, NAME_LIMIT, Label, flaw

MOST_CHARACTERS = 1000  # of a name or a path
TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
SERVER = re.compile(r"(?:[A-Z_]+://)?(?:\[[0-9a-fA-F:.]+\]|(?P<host>[a-zA-Z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?")
TIERS = ("tokens", "frozen", "tuned")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
NUMBER = "a number is not expected here, and text could spell it in another way; put it in quotes if it is a name"
TRUTH = "true and false, and so yes, no, on and off in YAML, are not expected here; put it in quotes if it is a word"


@dataclass(frozen=True)
class Unit:
    """What a number counts, or is a share of."""

    name: str


class Section(BaseModel):
    """A frozen part of the tree in which an unknown key is an error, and nothing under a section means its defaults.

    The text under a setting is its description, of which the reference is made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_given(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = get_args(annotation) or (annotation,)
        if value is None and NoneType not in kinds:
            if isinstance(annotation, type) and issubclass(annotation, Section):
                return {}
            raise ValueError("there is no value here; leave it out for the default")
        if isinstance(value, bool) and bool not in kinds:
            raise ValueError(TRUTH)
        return value


def as_text(value: Any) -> Any:
    """Return `value`, an integer as text; ValueError for a number that text would write in another way."""
    if isinstance(value, float):
        raise ValueError(NUMBER)  # noqa: TRY004 - pydantic collects ValueError
    return str(value) if isinstance(value, int) else value


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    if CONTROL.search(text):
        raise ValueError("it holds a control character")
    return text


def _path(path: Path) -> Path:
    _one_line(str(path))
    return path


def _path_as_given(value: Any) -> Any:
    text = as_text(value)
    return _one_line(text) if isinstance(text, str) else text


def _topic(name: str) -> str:
    if not TOPIC.fullmatch(name) or name in {".", ".."}:
        raise ValueError("a topic's name has 1 to 249 letters, digits, '.', '_' and '-'")
    return name


def _place(text: str) -> str:
    parse(text)
    return text


def _servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    if not all(map(_is_server, servers)):
        raise ValueError(
            "brokers are written as host:port,host:port; a user stands in kafka.client.sasl_plain_username, and the "
            "password in the environment"
        )
    return ",".join(servers)


def _is_server(text: str) -> bool:
    found = SERVER.fullmatch(text)
    if not found or not 1 <= int(found["port"] or 1) <= 65535:  # noqa: PLR2004 - TCP's
        return False
    labels = (found["host"] or "h").rstrip(".").split(".")
    return all(1 <= len(label) <= 63 for label in labels)  # noqa: PLR2004 - DNS's


def _experts(given: Any) -> Any:
    """Return `given` if it is the name of a tier or a list of experts."""
    if given in TIERS or (isinstance(given, list) and given):
        return given
    said = f"this is a tier ({', '.join(TIERS)}) or a list of experts, such as [naive_bayes, transformer]"
    raise ValueError(said + (nearest(given, TIERS) if isinstance(given, str) else ""))


def _labels(given: Any) -> Any:
    """Return `given` if it is 'discover' or a closed list of labels of one type."""
    if given == "discover":
        return given
    if not isinstance(given, list):
        raise ValueError("must be 'discover' or a list of labels, such as [billing, delivery]")  # noqa: TRY004
    if not given:
        raise ValueError("a closed list needs at least one label; write 'discover' to learn labels from the stream")
    if any(isinstance(label, bool) for label in given):
        raise ValueError(f"{TRUTH}, such as ['yes', 'no']")
    types = sorted({"null" if label is None else type(label).__name__ for label in given})
    if types not in (["int"], ["str"]):
        raise ValueError(f"labels are either all strings or all integers, but the list has {' and '.join(types)}")
    if not all(map(_is_label, given)):
        raise ValueError(
            f"a label has 1 to {NAME_LIMIT} characters, not all of them blank and none a control character "
            "or half of a surrogate pair, or is an integer of 64 bits"
        )
    if len(set(given)) != len(given):
        raise ValueError("a label is listed twice")
    return given


def _is_label(label: Label) -> bool:
    if isinstance(label, int):
        return LABELS_FROM <= label <= LABELS_TO
    return not flaw(label) and len(label) <= NAME_LIMIT and not CONTROL.search(label)


def spelled(pattern: str, sentence: str) -> AfterValidator:
    """Return what raises ValueError with `sentence` for text that is not all `pattern`."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(sentence)
        return text

    return AfterValidator(check)


def finite(tree: Any) -> bool:
    """Whether every number in `tree` is one, as JSON has them."""
    if isinstance(tree, dict | list):
        return all(map(finite, tree.values() if isinstance(tree, dict) else tree))
    return not isinstance(tree, float) or math.isfinite(tree)


Text = Annotated[str, BeforeValidator(as_text), AfterValidator(_one_line)]
Topic = Annotated[str, BeforeValidator(as_text), AfterValidator(_topic)]
Servers = Annotated[str, BeforeValidator(as_text), AfterValidator(_servers)]
Host = Annotated[
    str,
    BeforeValidator(as_text),
    spelled(r"[a-zA-Z0-9._:%-]{1,253}", "a host is a name or an address, such as 127.0.0.1"),
]
FilePath = Annotated[Path, BeforeValidator(_path_as_given), AfterValidator(_path)]
Place = Annotated[Text, AfterValidator(_place)]
"""Where a field of an event stands, as :func:`streamlearn.config.places.parse` reads it."""
Function = Annotated[
    Text,
    spelled(
        r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*",
        "this is a module and a function in it, such as shapes:decode",
    ),
]
Trained = Annotated[
    str, spelled(r"all|bias|head|lora|last-[1-9][0-9]{0,2}", "what trains is all, head, bias, lora, or such as last-2")
]
Experts = Annotated[Literal["tokens", "frozen", "tuned"] | list[Text], BeforeValidator(_experts)]
UserName = Annotated[Text, spelled(r"[^:]+", "a user's name has no colon")]

Labels = Annotated[Literal["discover"] | list[Label], BeforeValidator(_labels)]

Count = Annotated[int, Unit("steps"), Field(ge=1, le=10**9)]
Bytes = Annotated[int, Unit("bytes"), Field(ge=1, le=2**40)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Wait = Annotated[float, Unit("seconds"), Field(ge=0.001, le=86_400)]
"""Seconds, at most a day: system calls count milliseconds in 31 bits."""
Period = Annotated[float, Unit("seconds"), Field(ge=0.001, le=10**9)]
"""Seconds between two times at which something is due; never is ``null``."""
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
