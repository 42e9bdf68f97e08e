"""The wheel that is installed: what it has beside the modules."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_wheel_has_every_module_its_types_and_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "hatchling" in done.stderr:
        pytest.skip("pip cannot get hatchling, which builds the wheel")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    package = ROOT / "streamlearn"
    modules = {str(path.relative_to(ROOT)) for path in package.rglob("*.py")}
    assert modules <= held
    assert {"streamlearn/py.typed", "streamlearn/monitor/page/index.html", "streamlearn/local/demo.yaml"} <= held
