"""Writes a first configuration: a file with every setting explained, and a schema for editors beside it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamlearn.config.reference import IDENTITY, Setting, as_yaml, schema, settings
from streamlearn.errors import ConfigurationError

SCHEMA = "streamlearn.schema.json"
WIDTH = 110  # columns of a comment
ALWAYS = frozenset(
    {
        *("kafka.bootstrap_servers", "kafka.topic", "events.labels"),
        *("updater.model", "updater.experts", "publisher.directory"),
    }
)
"""Settings that are written out with their defaults, because almost everybody changes them."""
HEAD = f"""\
# yaml-language-server: $schema={SCHEMA}
# The configuration of streamlearn. What is commented out (#key: value) has this value already. Before it runs:
#   streamlearn check --config {{name}}"""


def init(file: Path, given: Mapping[str, Any]) -> list[Path]:
    """Write a configuration to `file`, which must not exist, and its schema beside it; return both paths.

    Parameters
    ----------
    file
        The YAML file.
    given
        The tree of settings that differ from their defaults, as made by ``--set``.

    Raises
    ------
    ConfigurationError
        If `file` exists, the schema's path holds another file, or they cannot be written.

    """
    beside = file.with_name(SCHEMA)
    try:
        _refuse_what_is_not_ours(beside)
        with file.open("x", encoding="utf-8") as written:
            written.write(commented(given, name=file.name))
        beside.write_text(schema_text(), encoding="utf-8")
    except FileExistsError:
        raise ConfigurationError(f"{file} already exists, and was left as it is; name another file") from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {file} and {SCHEMA} beside it: {error.strerror}") from None
    return [file, beside]


def schema_text() -> str:
    """Return the JSON Schema of a configuration file."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def commented(given: Mapping[str, Any], *, name: str = "streamlearn.yaml") -> str:
    """Return a configuration with all settings explained, those in `given` with their values.

    Parameters
    ----------
    given
        A tree of valid settings.
    name
        The name of the file.

    """
    lines, skipped = [HEAD.format(name=name)], ""
    for setting in settings():
        if skipped and setting.key.startswith(skipped):
            continue
        depth = setting.key.count(".")
        value = _at(given, setting.key)
        if depth == 0:
            lines.append("")
        lines += _comment(setting, "  " * depth)
        lines.append("  " * depth + _line(setting, value))
        skipped = f"{setting.key}." if setting.optional else ""
    return "\n".join(lines) + "\n"


def _line(setting: Setting, value: Any) -> str:
    name, unit = setting.key.rpartition(".")[2], f"  # {setting.unit}" if setting.unit else ""
    if value is not None and (setting.optional or not setting.is_section):
        return f"{name}: {as_yaml(value)}{unit}"
    if setting.optional:
        parts = [inner.key.removeprefix(f"{setting.key}.") for inner in settings() if _is_in(inner, setting)]
        return f"#{name}: null  # or {{{', '.join(f'{part}: …' for part in parts)}}}"
    if setting.is_section:
        return f"{name}:"
    return f"{'' if setting.key in ALWAYS else '#'}{name}: {setting.default}{unit}"


def _is_in(inner: Setting, section: Setting) -> bool:
    return inner.key.startswith(f"{section.key}.")


def _comment(setting: Setting, indent: str) -> list[str]:
    text = setting.text.replace("``", "")
    return textwrap.wrap(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _at(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value at `key` in `tree`, or None."""
    found: Any = tree
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _refuse_what_is_not_ours(path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        content = None
    if not (isinstance(content, dict) and content.get("$id") == IDENTITY):
        raise ConfigurationError(f"{path} already exists, and was not written by streamlearn; move it away")
