"""What the tests of the image, of compose and of Kubernetes read alike."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAY = KUBERNETES / "overlays" / "example"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
HEALTHCHECK = DEPLOY / "container" / "healthcheck.py"
INSTALLED = "/usr/local/lib/streamlearn/healthcheck.py"
COMPOSE = DEPLOY / "compose.yaml"
OF_THE_OPERATOR = {"ServiceMonitor", "PrometheusRule"}
Tree = dict[str, Any]


def tool(name: str) -> str:
    """Return the path of a tool of the dev extra, which stands beside the interpreter."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is missing; it belongs to the extra dev"
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=120)


def read(path: Path) -> Tree:
    tree: Tree = yaml.safe_load(path.read_text())
    return tree


def instructions(path: Path = DOCKERFILE) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments, comments left out and lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    begin = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[begin:]


def of_image(name: str) -> str:
    """Return the argument of the last instruction called `name` in the image that is built."""
    return [rest for instruction, rest in last_stage() if instruction == name][-1]


def environment_of_image() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in of_image("ENV").split())


def services() -> Tree:
    found: Tree = read(COMPOSE)["services"]
    return found


def mounts(service: Tree) -> list[list[str]]:
    return [volume.split(":") for volume in service.get("volumes", [])]


def script(path: Path) -> Any:
    """Return a script of deploy/ as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
