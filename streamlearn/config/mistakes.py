"""What is wrong with a configuration, in one sentence that names each key and shows nothing that may be a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from streamlearn.masking import is_secret, shown_key

MOST_TOLD = 10
LONGEST_KEY = 64  # characters: longer ones are not compared with what is known
SHOWN = re.compile(r"[a-z]{1,6}|[-+.e0-9]{1,6}")
"""What may be shown of a value: words and numbers too short to be secrets."""


def nearest(key: str, known: Iterable[str]) -> str:
    """Return a question that names the one of `known` that is most like `key`, or nothing."""
    match = difflib.get_close_matches(key[:LONGEST_KEY], list(known), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


def sentence(error: ValidationError, tree: type[BaseModel], origins: Mapping[tuple[str, ...], str]) -> str:
    """Return pydantic's `error` about `tree` as one sentence.

    Parameters
    ----------
    error
        All mistakes, of which the first few are reported.
    tree
        The model of the whole configuration.
    origins
        The environment variable that has set the value at each path in the tree.

    """
    mistakes = error.errors(include_url=False)
    told = [_mistake(mistake, tree, origins) for mistake in mistakes[:MOST_TOLD]]
    more = len(mistakes) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _mistake(mistake: Any, tree: type[BaseModel], origins: Mapping[tuple[str, ...], str]) -> str:
    location = [str(part) for part in mistake["loc"]]
    variable = _variable(tuple(location), origins)
    source = f"{variable}: " if variable else ""
    if mistake["type"] == "extra_forbidden":
        key, near = (
            ".".join(map(shown_key, location)),
            nearest(location[-1], _section(location[:-1], tree).model_fields),
        )
        if any(path[: len(location)] == tuple(location) for path in origins):
            return f"unknown variable {variable}: there is no setting '{key}'{near}"
        return f"{source}unknown key '{key}'{near}"
    key = ".".join(_declared(location, tree)) or "the configuration"
    if mistake["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{source}{key}: this is a section with settings of its own, and cannot be a single value"
    message = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{source}{key}: {message[0].lower()}{message[1:]}{_shown(mistake, key)}"


def _variable(location: tuple[str, ...], origins: Mapping[tuple[str, ...], str]) -> str:
    """Return the environment variable that has set what stands at `location`, around it or in it."""
    for path, variable in origins.items():
        shorter = min(len(path), len(location))
        if path[:shorter] == location[:shorter]:
            return variable
    return ""


def _section(location: list[str], tree: type[BaseModel]) -> type[BaseModel]:
    for part in location:
        annotation = tree.model_fields[part].annotation
        found: Any = next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)
        tree = found
    return tree


def _declared(location: list[str], tree: Any) -> list[str]:
    """Return the part of `location` that names settings; behind it pydantic names types, and users anything."""
    declared = []
    for part in location:
        if not (isinstance(tree, type) and issubclass(tree, BaseModel)) or part not in tree.model_fields:
            break
        declared.append(part)
        tree = _section([part], tree)
    return declared


def _shown(mistake: Any, key: str) -> str:
    """Return what was given instead, unless it may hold a secret or says nothing."""
    given = mistake["input"]
    private = is_secret(key) or key.startswith(("kafka.client", "monitor.basic_auth", "updater.model_overrides"))
    if private or mistake["type"] == "value_error" or isinstance(given, dict | list | bool):
        return ""
    return f" (got {given!r})" if SHOWN.fullmatch(str(given)) else ""
