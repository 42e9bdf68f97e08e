"""Where a field of an event is: under a path in the value, in the record's key, or in one of its headers.

>>> parse("text"), parse("payload.body"), parse('"a.b"')
(Names(names=('text',)), Names(names=('payload', 'body')), Names(names=('a.b',)))
>>> parse("key"), parse("header:label")
(Key(), Header(name='label'))
>>> parse("payload.lines[0].body").compiled.search({"payload": {"lines": [{"body": "late again"}]}})
'late again'

References
----------
The path is an expression of JMESPath: https://jmespath.org/specification.html

"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

HEADER = "header:"
SYNTAX = re.compile(r"[][.{}()|&!<>=*?:,'\"`@]")
"""What a name would have to stand in double quotes for; a text without any of it is a name as it is."""
MOST_LEVELS = 32  # of an expression within an expression: looking one up is recursive


@dataclass(frozen=True)
class Key:
    """The record's key, as UTF-8."""


@dataclass(frozen=True)
class Header:
    """The value of the last header called `name`, as UTF-8."""

    name: str


@dataclass(frozen=True)
class Names:
    """The value under `names`, of objects within one another."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Expression:
    """The result of a JMESPath expression on the value; null if it finds nothing."""

    spelling: str
    compiled: Any = field(compare=False, repr=False)


Place = Key | Header | Names | Expression


def parse(spelling: str) -> Place:
    """Return the place that `spelling` means.

    Raises
    ------
    ValueError
        If it is not a valid path; the message does not quote it.

    """
    if spelling == "key":
        return Key()
    if spelling.startswith(HEADER):
        if spelling == HEADER:
            raise ValueError("a header's name stands behind 'header:'")
        return Header(spelling.removeprefix(HEADER))
    if not SYNTAX.search(spelling):
        return Names((spelling,))
    try:
        compiled = jmespath.compile(spelling)
    except JMESPathError as error:
        at = getattr(error, "lex_position", None)
        raise ValueError(_no_path("" if at is None else f" at character {at + 1}")) from None
    except RecursionError:
        raise ValueError("this path is nested too deeply") from None
    names = _names(compiled.parsed)
    if names is not None:
        return Names(names)
    _check(compiled.parsed, MOST_LEVELS)
    return Expression(spelling, compiled)


def _no_path(where: str) -> str:
    return (
        f"this is neither a name nor a path that JMESPath can read{where}; a name with other signs than letters, "
        """digits and '_' stands in double quotes of its own: '"@timestamp"', 'payload."user-name"'"""
    )


def _names(node: Any) -> tuple[str, ...] | None:
    """Return the names that `node`, of JMESPath's syntax tree, looks up one in another; None where it does more."""
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] != "subexpression" or any(child["type"] != "field" for child in node["children"]):
        return None
    return tuple(child["value"] for child in node["children"])


def _check(node: Any, levels: int) -> None:
    """Raise ValueError if `node` calls an unknown function, which JMESPath would report only for each record."""
    if not levels:
        raise ValueError(f"this path is nested more than {MOST_LEVELS} levels deep")
    if node["type"] == "function_expression":
        signature = Functions.FUNCTION_TABLE.get(node["value"], {}).get("signature")
        if signature is None:
            raise ValueError("this path calls a function that JMESPath does not have")
        given, wanted = len(node["children"]), len(signature)
        if given < wanted or (given > wanted and not signature[-1].get("variadic")):
            raise ValueError(f"this path gives {node['value']}() {given} arguments, and it takes {wanted}")
    for child in node["children"]:
        if isinstance(child, dict):
            _check(child, levels - 1)
