"""Where settings come from: a YAML file, the environment and the command line, merged into one tree of plain values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from streamlearn.errors import ConfigurationError

ENVIRONMENT_PREFIX = "STREAMLEARN_"
FILE_SUFFIX = "_file"
SECRET_WORDS = ("password", "secret", "credential", "private_key", "api_key", "access_token")
USER_INFO = re.compile(r"(?<=//)[^/@\s]*:[^/@\s]*(?=@)")
"""The name and password in a URL."""


def merge(path: Path | None, environment: Mapping[str, str], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the tree of the three sources, the later ones winning.

    Raises
    ------
    ConfigurationError
        If a source cannot be read.

    """
    tree = _read(path) if path else {}
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key.endswith(FILE_SUFFIX) and is_secret(key):
            _set(tree, key.removesuffix(FILE_SUFFIX).split("__"), _read_secret(name, Path(value)), source=name)
        else:
            _set(tree, key.split("__"), value, source=name)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise ConfigurationError(f"'{override}' is not of the form section.key=value")
        _set(tree, key.strip().split("."), value, source=override)
    return tree


def variable(key: str) -> str:
    """Return the name of the environment variable that sets `key`."""
    return f"{ENVIRONMENT_PREFIX}{key.replace('.', '__').upper()}"


def is_secret(key: str) -> bool:
    """Whether the setting called `key` holds a secret."""
    return any(word in key.lower() for word in SECRET_WORDS)


def secrets_in(tree: Any, key: str = "") -> Iterator[str]:
    """Yield the key of every secret in `tree`."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from secrets_in(value, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for value in tree:
            yield from secrets_in(value, key)
    elif (is_secret(key) and tree not in (None, "")) or (isinstance(tree, str) and USER_INFO.search(tree)):
        yield key


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:  # without the line itself, which may hold a secret
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"{path} is not valid YAML{where}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigurationError(f"{path} is not valid YAML: it is not UTF-8 text without control characters") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path} holds a {type(tree).__name__}, where sections such as 'kafka:' are expected")
    return tree


def _read_secret(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read the secret in {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: the secret in {path} is not UTF-8 text") from None


def _set(tree: dict[str, Any], keys: Sequence[str], value: str, *, source: str) -> None:
    *sections, last = keys
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{source}: '{section}' is a value, not a section")
    try:
        tree[last] = value if is_secret(last) else yaml.safe_load(value)
    except yaml.YAMLError:
        tree[last] = value
