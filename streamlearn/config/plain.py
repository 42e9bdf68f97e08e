"""Reads YAML as plain values: what JSON can hold, of bounded size, nesting and expansion, and nothing that runs.

Keys are always text. What looks like a number is one as in YAML 1.2, so that ``0123``, ``12:30`` and ``2024-01-01``
stay the names that they are; ``yes``, ``no``, ``on`` and ``off`` are truth values, as other tools read them too.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_CHARACTERS = 2**18  # a closed list of ten thousand labels fits, and is read within seconds
MOST_LEVELS = 32
MOST_VALUES = 50_000  # with every alias written out, and sixteen characters of a text counted as one
DIGITS = 19  # of an integer of 64 bits
LONGEST_INTEGER = 2**63

MERGE = "tag:yaml.org,2002:merge"
TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")} | {MERGE}
QUOTED = re.compile(r" ?'([^']*)'")


class NotPlainError(ValueError):
    """The text is not YAML, or cannot be settings; the message is a predicate and does not quote the text."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.line = line


class NotYamlError(NotPlainError):
    """The text is not YAML at all, or has a tag."""


class _Loader(yaml.SafeLoader):
    """Composes nodes up to :data:`MOST_LEVELS` deep, whose scalars are resolved as the module says."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("bool", "null", "merge")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose the next node."""
        self._levels += 1
        if self._levels > MOST_LEVELS:
            raise NotPlainError(f"is nested more than {MOST_LEVELS} levels deep", self.line + 1)
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def read(text: str) -> Any:
    """Return the values in `text`: dicts with text for keys, lists, and what JSON has for leaves. None if it is empty.

    Raises
    ------
    NotPlainError
        If it is not YAML or not plain, with the line.

    """
    if len(text) > MOST_CHARACTERS:
        raise NotPlainError(f"has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded(node, {})
        return _value(loader, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise NotYamlError(f"is not valid YAML: {_harmless(error)}", mark.line + 1 if mark else None) from None
    except yaml.YAMLError:
        raise NotYamlError("is not valid YAML: it is not UTF-8 text without control characters") from None


def _harmless(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong without quoting the text, which may be a secret."""

    def shown(quoted: re.Match[str]) -> str:
        names_a_token = quoted[1].startswith("<") or not re.search(r"\w", quoted[1])
        return quoted[0] if names_a_token else ""

    problem = QUOTED.sub(shown, error.problem or "it cannot be read")
    if r"'\t'" in (error.problem or ""):
        return "it holds a tab; YAML is indented with spaces"
    needs_quotes = any(word in problem for word in ("character", "alias", "mapping values"))
    return problem + ("; a value with one of @ ! & * % : # ` in it needs quotes" if needs_quotes else "")


def _expanded(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many values `node` stands for with every alias written out, each node being looked at once."""
    known = sizes.get(id(node))
    if known == 0:
        raise NotPlainError("holds an alias of a value that contains it", node.start_mark.line + 1)
    if known is None:
        sizes[id(node)] = 0  # being looked at
        if isinstance(node, yaml.ScalarNode):
            known = 1 + len(node.value) // 16
        else:
            pairs = isinstance(node, yaml.MappingNode)
            children = [child for pair in node.value for child in pair] if pairs else node.value
            known = 1 + sum(_expanded(child, sizes) for child in children)
        sizes[id(node)] = known
    if known > MOST_VALUES:
        raise NotPlainError(f"holds more than {MOST_VALUES:,} values, with its aliases written out")
    return known


def _value(loader: _Loader, node: yaml.Node) -> Any:
    """Return the value of `node`, which shares nothing with that of another."""
    line = node.start_mark.line + 1
    if node.tag not in TAGS:
        raise NotYamlError("holds a tag ('!'), which no setting has; text that begins with '!' stands in quotes", line)
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, child) for child in node.value]
    return _scalar(loader, node, line)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, child in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise NotPlainError("holds a key that is not a name", line)
        if key.tag == MERGE:
            value = _value(loader, child)
            for source in value if isinstance(value, list) else [value]:
                if not isinstance(source, dict):
                    raise NotPlainError("merges ('<<') what has no keys", line)
                merged = source | merged
            continue
        if key.value in own:
            raise NotPlainError("holds a key twice in one section", line)
        own[_text(key.value, line)] = _value(loader, child)
    return merged | own


def _scalar(loader: _Loader, node: yaml.Node, line: int) -> Any:
    kind = node.tag.rpartition(":")[2]
    if kind in ("str", "merge"):
        return _text(node.value, line)
    if kind == "int":
        digits = node.value.lstrip("+-")
        number = int(node.value) if digits.isdecimal() and len(digits) <= DIGITS else LONGEST_INTEGER
        if not -LONGEST_INTEGER <= number < LONGEST_INTEGER:
            raise NotPlainError("holds an integer beyond 64 bits", line)
        return number
    try:
        if kind == "float":
            return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return loader.bool_values[node.value.lower()] if kind == "bool" else None
    except (ValueError, KeyError):
        raise NotYamlError("holds a tag that does not fit its value", line) from None


def _text(text: str, line: int) -> str:
    if not is_text(text):
        raise NotPlainError("holds half of a surrogate pair, which is not text", line)
    return text


def is_text(text: str) -> bool:
    """Whether `text` can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
