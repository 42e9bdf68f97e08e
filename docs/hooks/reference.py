"""The pages of the reference, made of the code: settings, commands and metrics."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
from prometheus_client import CollectorRegistry

from streamlearn.cli.app import app
from streamlearn.config.reference import Setting, settings
from streamlearn.monitor.metrics import Metrics

CONFIGURATION = """\
# Configuration

YAML file < environment (`STREAMLEARN_SECTION__KEY`) < command line (`--set section.key=value`): the later wins. An
unknown key is an error that names the nearest one. `streamlearn init` writes a file with all of this in it, and a JSON
Schema beside it by which editors complete and check.

Secrets come from the environment, or from a file that the variable with `_FILE` at its end names. *Above* and *below*
leave the number itself out; `null` stands for none.
"""
COMMANDS = """\
# Commands

Exit codes: 0 done (also after SIGTERM), 1 failed, 2 wrong configuration or arguments, 3 Kafka unreachable or refused,
4 state unreadable. With `--json` a result is printed as JSON.
"""
METRICS = """\
# Metrics

On `/metrics` of `monitor.port`, beside those of the process. Names are a contract: rules, dashboard and
[runbooks](../../deploy/runbooks/README.md) use them. No label holds a text, a key, an id or an offset.

| name | type | labels | what it is |
|---|---|---|---|
"""


def configuration_page() -> str:
    """Return the page of the settings, a table for each section."""
    return CONFIGURATION + "".join(_setting(setting) for setting in settings())


def _setting(setting: Setting) -> str:
    if setting.is_section:
        level = "##" if "." not in setting.key else "###"
        absent = " Not there unless it is given." if setting.optional else ""
        return f"\n{level} `{setting.key}` {{ #{setting.key} }}\n\n{_plain(setting.text)}{absent}\n\n"
    default = "none: it has to be given" if setting.default is None else f"`{setting.default}`"
    unit = f" ({setting.unit})" if setting.unit else ""
    name = f"#### `{setting.key}` {{ #{setting.key} }}"
    return f"\n{name}\n\n{_plain(setting.text)}\n\nTakes {setting.values}{unit}; default {default}.\n"


def commands_page() -> str:
    """Return the page of the commands."""
    return COMMANDS + "".join(_command(typer.main.get_command(app), "streamlearn"))


def _command(command: Any, name: str) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is not None:
        for part in sorted(inner):
            if not inner[part].hidden:
                yield from _command(inner[part], f"{name} {part}")
        return
    text = inspect.cleandoc(command.help or "")
    prose, _, example = text.partition("Example: ")
    yield f"\n## `{name}`\n\n{prose.strip()}\n\n```bash\n{' '.join(example.split())}\n```\n\n| | |\n|---|---|\n"
    for parameter in command.params:
        spelled = ", ".join(f"`{spelling}`" for spelling in parameter.opts if spelling.startswith("-"))
        meta = parameter.metavar or ""
        shown = f"{spelled} {meta}".strip() if spelled else f"`{meta or parameter.name.upper()}`"
        if parameter.name != "help":
            yield f"| {_cell(shown)} | {_cell(parameter.help or '')} |\n"


def metrics_page() -> str:
    """Return the page of the metrics."""
    metrics = Metrics(CollectorRegistry())
    collectors = [value for value in vars(metrics).values() if hasattr(value, "_labelnames")]
    rows = []
    for collector in collectors:
        (family,) = collector.describe()
        name = family.name + "_total" * (family.type == "counter")
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # noqa: SLF001 - there is no other way
        rows.append(f"| `{name}` | {family.type} | {labels} | {_cell(family.documentation)} |\n")
    return METRICS + "".join(sorted(rows))


def _plain(text: str) -> str:
    """Return a docstring's `text` in Markdown."""
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
