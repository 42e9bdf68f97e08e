"""The page of guarantees names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
PAGE = (ROOT / "deploy" / "GUARANTEES.md").read_text()
ROWS = PAGE.partition("## What happens when")[2].partition("##")[0].split("|---|---|---|\n")[1].splitlines()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_a_named_test_exists(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("row", [row for row in ROWS if row.startswith("|")])
def test_each_promise_names_its_test(row: str) -> None:
    assert "`test_" in row.split("|")[3]
