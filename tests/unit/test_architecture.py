"""Rooms import downwards only, and rooms of one floor do not import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamlearn

PACKAGE = Path(streamlearn.__file__).parent
ROOMS = {"consumer", "buffer", "updater", "checkpointing"}
GROUND = {
    *("config", "errors", "events", "masking", "patience", "records", "state", "storage", "terminal"),
    *("unforeseen", "__init__"),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards_only(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imported(path):
        if not module.startswith("streamlearn"):
            continue
        other = room_of(module)
        if own in ROOMS:
            assert other == own or other in GROUND, f"{own} imports {module}"
        if own in GROUND:
            assert other in GROUND, f"{own} imports {module}"
        if other == "local":
            assert own in {"local", "cli"}, f"{own} imports {module}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_consumer_and_what_stands_around_kafka_knows_its_client(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own not in {"consumer", "local", "config"}:
        assert not [module for module in imported(path) if module.split(".")[0] == "kafka"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_says_its_subject_first_and_keeps_to_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert len(path.read_text().splitlines()) <= 350
