"""What every tier of tests starts from: a tiny model, brokers by kind, and configurations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that wait must not keep others from running

import pytest
import torch
from hypothesis import HealthCheck, settings
from safetensors.torch import load_file, save_file

from streamlearn.local.broker import ApacheKafka, Broker, NoidaDB
from streamlearn.local.tiny import SPECIAL, WORDS, save_tiny_language_model, save_tiny_model
from tests import forked

TIERS = frozenset({"integration", "fault", "ops"})
"""Directories whose tests are marked with their name."""

OVERFLOWING = "orbit"
"""The word that `overflowing_model` cannot bear."""

settings.register_profile("streamlearn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("streamlearn")  # how fast the machine is decides no test


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and a vocabulary of some forty words, saved as a hub model is."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers and a vocabulary of some forty words, saved as a hub model is."""
    return save_tiny_language_model(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def overflowing_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with one word whose embedding overflows, as training gone wrong can leave it."""
    directory = shutil.copytree(tiny_model, tmp_path / "overflowing")
    weights = load_file(directory / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][len(SPECIAL) + WORDS.index(OVERFLOWING)] = 3e38
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 24 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", directory], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    yield directory
    subprocess.run(["umount", directory], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free on `disk`, and return the file that takes them."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        while free := shutil.disk_usage(disk).free:
            file.write(b"x" * min(free, 2**20))
            file.flush()
    return filler


BLOCKER = """
import sys

class Without:
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def streamlearn(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, without the hub, in an `environment` that is that of the tests but for this."""
    if not environment:
        return forked.run(*arguments)
    return subprocess.run(
        [sys.executable, "-m", "streamlearn", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
    )


def without(
    directory: Path, modules: list[str], *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in an interpreter in which `modules` are not installed."""
    (directory / "sitecustomize.py").write_text(BLOCKER.format(blocked=modules))
    path = os.pathsep.join([str(directory), str(Path(__file__).parents[1])])
    return streamlearn(*arguments, **({"PYTHONPATH": path} | environment))


def brokers() -> list[str]:
    """The kinds of broker of this run: Apache Kafka where KAFKA_HOME names one, and the development broker."""
    return [*(["apache"] if os.environ.get("KAFKA_HOME") else []), "noida"]


@pytest.fixture(scope="session")
def brokers_by_kind() -> Iterator[dict[str, Broker]]:
    started: dict[str, Broker] = {}
    yield started
    for broker in started.values():
        broker.close()


@pytest.fixture(params=brokers())
def broker(request: pytest.FixtureRequest, brokers_by_kind: dict[str, Broker]) -> Broker:
    """A running broker; each kind of it is started once a session."""
    return started(request.param, brokers_by_kind)


@pytest.fixture(scope="session")
def one_broker(brokers_by_kind: dict[str, Broker]) -> Broker:
    """Apache Kafka where there is one, the development broker otherwise: for what does not depend on the kind."""
    return started(brokers()[0], brokers_by_kind)


@pytest.fixture
def apache_kafka(brokers_by_kind: dict[str, Broker]) -> Broker:
    """A running Apache Kafka, for what the development broker does not have."""
    if not os.environ.get("KAFKA_HOME"):
        pytest.skip("KAFKA_HOME names no Apache Kafka")
    return started("apache", brokers_by_kind)


def started(kind: str, by_kind: dict[str, Broker]) -> Broker:
    """Return the broker of `kind` in `by_kind`, started there first where it is missing."""
    if kind not in by_kind:
        by_kind[kind] = (ApacheKafka(Path(os.environ["KAFKA_HOME"])) if kind == "apache" else NoidaDB()).start()
    return by_kind[kind]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and note which broker it runs on, for the summary."""
    for item in items:
        tier = item.nodeid.split("/")[1]
        if tier in TIERS:
            item.add_marker(tier)
        fixtures = set(getattr(item, "fixturenames", ()))
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if fixtures & {"apache_kafka", "own_broker"}:
            kind = "apache"
        elif "broker" in fixtures:
            kind = parameters.get("broker", brokers()[0])
        else:
            continue
        item.user_properties.append(("broker", {"apache": "Apache Kafka", "noida": "noida-db"}[kind]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests of each tier passed and were skipped on which broker."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            tier = report.nodeid.split("/")[1]
            for name, kind in report.user_properties:
                if name == "broker":
                    counts[tier, kind, outcome] += 1
    for (tier, kind, outcome), count in sorted(counts.items()):
        terminalreporter.write_line(f"{tier} tests on {kind}: {count} {outcome}")
