"""The documentation is true: the site builds without a broken link, and what it shows of code and settings works."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from streamlearn.cli.app import app
from streamlearn.config import load
from streamlearn.config.reference import settings
from streamlearn.config.schema_registry import WITH_SCHEMAS
from tests.integration.test_shapes import SHAPES
from tests.tutorial import blocks

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*DOCS, ROOT / "README.md", ROOT / "deploy/README.md", *sorted((ROOT / "deploy").glob("runbooks/*.md"))]
PASSWORDS = {
    "sasl_plain_username": "STREAMLEARN_KAFKA__CLIENT__SASL_PLAIN_PASSWORD",
    "schema_registry: {url": "STREAMLEARN_KAFKA__SCHEMA_REGISTRY__PASSWORD",
}
"""What a configuration that names a user has from the environment."""
ROW = re.compile(r"^\| .* \| `(\{.*\})` \|$", re.MULTILINE)


def name_of(path: object) -> str:
    return path.relative_to(ROOT).as_posix() if isinstance(path, Path) else ""


def shown(kind: str) -> Iterator[Any]:
    """Yield the blocks of a language in the pages, each as a parameter that names its page."""
    for page in PAGES:
        found = [block for block in blocks(page.read_text()) if block.kind == kind]
        for number, block in enumerate(found, 1):
            yield pytest.param(block, id=f"{name_of(page)}-{number}")


@pytest.mark.parametrize("block", [one for one in shown("yaml") if one.values[0].title != "prometheus.yaml"])
def test_a_configuration_that_is_shown_loads(block: Any, tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(block.text)
    load(file, environment={variable: "hunter2" for name, variable in PASSWORDS.items() if name in block.text})


def test_each_shape_that_the_table_names_is_one_that_is_tried_on_a_real_topic() -> None:
    page = (ROOT / "docs/how-to/shapes.md").read_text()
    rows = [row.replace("\\|", "|") for row in ROW.findall(page)]
    registry = {"kafka": {"schema_registry": {"url": "http://registry:8081"}}}
    stated = [tree({"events": yaml.safe_load(row)} | registry) for row in rows]
    tried = [load(overrides=shape.settings).events for shape in SHAPES.values()]
    apart = [events.format for events in stated if events not in tried]
    assert apart == list(WITH_SCHEMAS)  # which need a registry, and have tests of their own there
    assert [name for name, events in zip(SHAPES, tried, strict=True) if events not in stated] == []
    assert len(rows) == len(SHAPES) + len(apart)


def tree(given: dict[str, Any]) -> Any:
    """Return the section ``events`` of a configuration."""
    return load(
        overrides=[f"{section}={yaml.safe_dump(value, width=10**6)}" for section, value in given.items()]
    ).events


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each command of streamlearn in a block of a shell, without what the shell does."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.match(r"(?:[A-Z_]+=\S+ )*streamlearn (.*?)(?:\s+#.*|\s+&|\s+\|.*)?$", line.strip())
        if found:
            yield shlex.split(found[1])


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(arguments, id=" ".join(arguments))
        for block in (*shown("bash"), *shown("sh"))
        for arguments in commands(block.values[0].text)
    ],
)
def test_a_command_that_is_shown_is_one_that_there_is_with_options_that_it_has(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    known = {option: parameter for parameter in command.params for option in parameter.opts}
    rest = list(arguments)
    while rest:
        option, equals, _ = rest.pop(0).partition("=")
        if option.startswith("-"):
            assert option in known, f"{command.name} has no option {option}"
            if not equals and not known[option].is_flag:
                rest.pop(0)


def test_the_figures_of_disk_and_memory_are_those_that_were_measured() -> None:
    page = (ROOT / "docs/how-to/sizing.md").read_text()
    disk, learning = (
        json.loads((ROOT / f"benchmarks/results/{name}.json").read_text()) for name in ("disk", "learning")
    )
    for tier, after in disk["mebibytes"].items():
        sizes = " | ".join(
            f"{after['1500'][kind]:.0f} and {after['3000'][kind]:.0f}" for kind in ("checkpoint", "snapshot")
        )
        assert f"| `{tier}` | {sizes} |" in page
        assert f"| `{tier}` | {learning['learners'][tier]['newsgroups_mebibytes']:.0f} |" in page


def test_the_library_does_what_the_first_page_says_of_it() -> None:
    python, said = blocks((ROOT / "docs/index.md").read_text())
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        exec(compile(python.text, "index.md", "exec"), {})  # noqa: S102 - it is what the page shows
    assert heard.getvalue() == said.text


def test_the_site_builds_without_a_warning_and_has_every_setting_command_and_alert(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    configuration = (tmp_path / "reference/configuration.html").read_text()
    assert [one.key for one in settings() if f'id="{one.key}"' not in configuration] == []
    reference = (tmp_path / "reference/commands.html").read_text()
    assert [name for name in ("finetune", "init", "snapshots show") if f"streamlearn {name}" not in reference] == []
    assert "streamlearn_drift_detections_total" in (tmp_path / "reference/metrics.html").read_text()
    alerts = {path.stem for path in (ROOT / "deploy/runbooks").glob("*.md")}
    assert {path.stem for path in tmp_path.glob("operation/deploy/runbooks/*.html")} == {*alerts - {"README"}, "index"}
    asked = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="https?:')
    assert [page.name for page in tmp_path.rglob("*.html") if asked.search(page.read_text())] == []
