"""What is built installs into a bare environment and works there, on the oldest and the newest Python that it claims.

torch comes from an index as a build for CUDA of 4 GB, so the whole walk is done on the Python that runs the tests, for
which set-up has a torch already; on the others everything is installed but torch, and whatever needs none of it is run.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlearn.config import load
from streamlearn.consumer.client import create_topic
from streamlearn.local.broker import Broker, free_port
from tests.integration.learner import DEADLINE_SECONDS, answers, event, send, wait_until

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
HEAVY = re.compile(r"torch\b")
IMPORTS = """
import importlib, pkgutil, streamlearn
for module in pkgutil.walk_packages(streamlearn.__path__, "streamlearn."):
    if module.name != "streamlearn.__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            assert error.name in ("torch", "confluent_kafka", "fastavro", "matplotlib", "rich", "peft"), error
"""


def run(*command: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `command` outside of the checkout, without anything that leads into it."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONSTRAINT")}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=inherited | {"HF_HUB_OFFLINE": "1"} | environment,
    )


def succeed(*command: object, cwd: Path | None = None, **environment: str) -> str:
    """Return what `command` printed; it must not fail."""
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def interpreter(version: str) -> Path:
    """Return a Python of `version`, from the path or from pyenv; the test is skipped by name where there is none."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*sorted(kept.glob(f"{version}.*/bin/python{version}")), shutil.which(f"python{version}")]
    for found in filter(None, candidates):
        if run(found, "-c", "import venv, ensurepip").returncode == 0:
            return Path(found)
    pytest.skip(f"there is no Python {version} here")


def claimed() -> list[str]:
    """Return the versions of Python that the package claims, oldest first."""
    return re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that was made of it."""
    directory = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--outdir", directory, ROOT, cwd=directory)
    if "hatchling" in done.stdout + done.stderr and "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("pip cannot get hatchling, which builds the wheel")
    assert done.returncode == 0, done.stdout + done.stderr
    return next(directory.glob("*.tar.gz")), next(directory.glob("*.whl"))


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Path]:
    """The directory of an environment, which is removed afterwards."""
    yield tmp_path / "bare"
    shutil.rmtree(tmp_path / "bare", ignore_errors=True)


def requirements(wheel: Path) -> list[str]:
    """Return what `wheel` requires without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    return [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]


def test_the_sdist_holds_the_package_and_what_it_says_of_itself(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "streamlearn/py.typed"} <= held
    assert not [name for name in held if name.startswith(("tests", "benchmarks", "docs", "deploy"))]
    with zipfile.ZipFile(wheel) as archive:
        assert "streamlearn/py.typed" in archive.namelist()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", [claimed()[0], claimed()[-1]])
def test_on_the_oldest_and_the_newest_python_all_but_torch_installs_and_what_needs_none_works(
    version: str, built: tuple[Path, Path], bare: Path, tmp_path: Path
) -> None:
    wheel = built[1]
    succeed(interpreter(version), "-m", "venv", bare)
    python = bare / "bin/python"
    succeed(python, "-m", "pip", "install", "--quiet", *[one for one in requirements(wheel) if not HEAVY.match(one)])
    succeed(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    succeed(python, "-m", "compileall", "-q", next(bare.glob("lib/python*/site-packages/streamlearn")))
    succeed(python, "-W", "error::SyntaxWarning", "-c", IMPORTS)
    command = bare / "bin/streamlearn"
    assert succeed(command, "--version").startswith("streamlearn ")
    succeed(command, "init", "--set", "kafka.topic=tickets", cwd=tmp_path)
    nowhere = ("--set=kafka.bootstrap_servers=127.0.0.1:1", "--set=kafka.connect_timeout_seconds=1")
    done = run(
        command, "produce", tmp_path / "streamlearn.yaml", "--config", "streamlearn.yaml", *nowhere, cwd=tmp_path
    )
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert "no Kafka broker answers at 127.0.0.1:1" in done.stderr


@pytest.mark.timeout(900)
def test_the_wheel_alone_checks_runs_shows_its_page_and_predicts(
    built: tuple[Path, Path], bare: Path, broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    succeed(sys.executable, "-m", "venv", bare)
    succeed(bare / "bin/python", "-m", "pip", "install", "--quiet", built[1], PIP_CONSTRAINT=str(CONSTRAINTS))
    command, port = bare / "bin/streamlearn", free_port()
    sets = {
        "kafka.bootstrap_servers": broker.bootstrap_servers,
        "kafka.topic": "installed",
        "events.holdout_ratio": 0,
        "updater.model": tiny_model,
        "publisher.snapshots.every_steps": 4,
        "monitor.port": port,
    }
    succeed(command, "init", *[f"--set={key}={value}" for key, value in sets.items()], cwd=tmp_path)
    config = load(tmp_path / "streamlearn.yaml")
    create_topic(config.kafka, config.kafka.topic, partitions=1)
    send(config, map(event, range(64)))
    configured = ("--config", "streamlearn.yaml")
    assert "✗" not in succeed(command, "check", *configured, cwd=tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    learner = subprocess.Popen([command, "run", *configured], cwd=tmp_path, env=environment)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), "the learner is ready")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert b"<title>streamlearn" in page.read()
        wait_until((tmp_path / "streamlearn-state/snapshots/latest").exists, "a snapshot has been published")
        assert succeed(command, "predict", *configured, "late refund", cwd=tmp_path).startswith("label-")
        learner.terminate()
        assert learner.wait(DEADLINE_SECONDS) == 0
    finally:
        learner.kill()
        learner.wait()
