"""Where settings come from: a YAML file, the environment and the command line, merged into one tree of plain values."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamlearn.config import plain
from streamlearn.errors import ConfigurationError
from streamlearn.masking import is_secret, shown_key

ENVIRONMENT_PREFIX = "STREAMLEARN_"
FILE_SUFFIX = "_file"
MOST_BYTES = 2**20  # of a file, checked before it is parsed
PIPE_SECONDS = 10.0
LONGEST_NAME = 300  # characters of a name in an error

Origins = dict[tuple[str, ...], str]
"""The environment variable that has set the value at each path in the tree."""


FILE_ONLY = ("updater", "trust_remote_code")
"""What runs the code of a stranger is decided in the file, not by whoever can add to an environment or a command."""


def merge(
    path: Path | None, environment: Mapping[str, str], overrides: Sequence[str], *, origins: Origins | None = None
) -> dict[str, Any]:
    """Return the tree of the three sources, the later ones winning; note in `origins` what the environment has set.

    Raises
    ------
    ConfigurationError
        If a source cannot be read, or contains something that cannot be a setting.

    """
    origins = {} if origins is None else origins
    tree = _read(path) if path else {}
    in_file = _at(tree, FILE_ONLY)
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key.endswith(FILE_SUFFIX) and is_secret(key):
            keys, value = key.removesuffix(FILE_SUFFIX).split("__"), _read_secret(shown(name), Path(value))  # noqa: PLW2901
        else:
            keys = key.split("__")
        _set(tree, keys, value, source=shown(name))
        origins[tuple(keys)] = shown(name)
    for override in overrides:
        key, equals, value = override.partition("=")
        keys = key.strip().split(".")
        if not equals or not key.strip():
            raise ConfigurationError("--set takes section.key=value, such as --set kafka.topic=tickets")
        _set(tree, keys, value, source=f"--set {shown_key(key.strip())}")
        for overridden in [path for path in origins if path[: len(keys)] == tuple(keys)]:
            del origins[overridden]
    if _at(tree, FILE_ONLY) is not in_file:
        raise ConfigurationError(f"{'.'.join(FILE_ONLY)} can be set in the configuration file only")
    return tree


def _at(tree: Any, keys: Sequence[str]) -> Any:
    """Return the value under `keys`, or None."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def shown(name: object) -> str:
    """Return the name of a variable or file within one line of a sentence, and not all of a long one."""
    text = str(name)
    return (text if text.isprintable() else ascii(text)[1:-1])[:LONGEST_NAME]


def variable(key: str) -> str:
    """Return the name of the environment variable that sets `key`."""
    return f"{ENVIRONMENT_PREFIX}{key.replace('.', '__').upper()}"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path, MOST_BYTES)
        tree = plain.read(text)
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration {shown(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{shown(path)} is not valid YAML: it is not UTF-8 text without control characters"
        ) from None
    except plain.NotPlainError as error:
        raise ConfigurationError(f"{shown(path)} {error}" + (f" (line {error.line})" if error.line else "")) from None
    except ValueError as error:
        raise ConfigurationError(f"cannot read the configuration {shown(path)}: it {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigurationError(
            f"{shown(path)} holds a {type(tree).__name__}, where sections such as 'kafka:' are expected"
        )
    return tree


def read_text(path: Path, limit: int) -> str:
    """Return the text in `path`, a file or a pipe, whose type and size are checked first.

    Raises
    ------
    OSError
        If it cannot be opened or read.
    ValueError
        If it is neither, larger than `limit` bytes, or nothing comes out of it; the message is a predicate.

    """
    if "\x00" in str(path):
        raise ValueError("is not a path: it holds a null character")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe waits for its writer
    try:
        kind = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISFIFO(kind):
            raise ValueError("is neither a file nor a pipe")
        content = bytearray()
        while len(content) <= limit:
            if not select.select([descriptor], [], [], PIPE_SECONDS)[0]:
                raise ValueError(f"has given nothing for {PIPE_SECONDS:g} s")
            piece = os.read(descriptor, limit + 1 - len(content))
            if not piece:
                break
            content += piece
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ValueError(f"is larger than {limit:,} bytes")
    if stat.S_ISFIFO(kind) and not content:
        raise ValueError("is a pipe that nobody writes to")
    return content.decode()


def _read_secret(name: str, path: Path) -> str:
    try:
        return read_text(path, plain.MOST_CHARACTERS).rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read the secret in {shown(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: the secret in {shown(path)} is not UTF-8 text") from None
    except ValueError as error:
        raise ConfigurationError(f"{name}: cannot read the secret in {shown(path)}: it {error}") from None


def _set(tree: dict[str, Any], keys: Sequence[str], text: str, *, source: str) -> None:
    if not all(keys):
        raise ConfigurationError(f"{source} names no setting")
    *sections, last = keys
    for section in sections:
        if tree.get(section) is None:
            tree[section] = {}
        tree = tree[section]
        if not isinstance(tree, dict):
            raise ConfigurationError(f"{source}: '{shown_key(section)}' is a value, not a section")
    tree[last] = _value(last, text, source)


def _value(key: str, text: str, source: str) -> Any:
    """Return the value that `text` gives to `key`: the text itself for a secret, or if it is not YAML."""
    if not plain.is_text(text):
        raise ConfigurationError(f"{source} is not UTF-8 text")
    if is_secret(key):
        return text
    if not text.strip():
        raise ConfigurationError(f"{source} is empty; give it a value, or leave it out (null stands for none)")
    try:
        return plain.read(text)
    except plain.NotYamlError:
        return text
    except plain.NotPlainError as error:
        raise ConfigurationError(f"{source} {error}") from None
