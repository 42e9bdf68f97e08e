"""The image, and the health check in it, held against the code and the real tools."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from streamlearn.config import Monitor, load
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.metrics import Metrics
from streamlearn.monitor.server import Server
from tests.certificates import make_certificates
from tests.ops.manifests import (
    DOCKERFILE,
    HEALTHCHECK,
    INSTALLED,
    ROOT,
    environment_of_image,
    instructions,
    last_stage,
    of_image,
    run,
    services,
    tool,
)


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    assert "hadolint ignore" not in DOCKERFILE.read_text()
    done = run(tool("hadolint"), "--no-color", "--failure-threshold", "style", DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_the_image_is_the_last_stage_and_starts_from_the_bare_base() -> None:
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm AS base", stages[0])
    assert stages[1:] == ["base AS builder", "base AS runtime"]
    assert not [rest for name, rest in last_stage() if name == "RUN" and re.search(r"\b(pip|apt|apt-get|gcc)\b", rest)]


def test_the_image_installs_the_torch_that_was_tested_for_the_processor_unless_told_otherwise() -> None:
    assert ("ARG", "TORCH_INDEX=https://download.pytorch.org/whl/cpu") in instructions()
    (install,) = [rest for name, rest in instructions() if name == "RUN" and "TORCH_INDEX" in rest]
    assert install.split()[-1] in (ROOT / "constraints.txt").read_text().splitlines()


def test_every_install_into_the_image_is_bound_to_what_was_tested_and_leaves_no_cache() -> None:
    for name, rest in instructions():
        if name == "RUN":
            for install in re.findall(r"pip --python \S+ install[^&]*", rest):
                assert "--constraint constraints.txt" in install
                assert "--no-cache-dir" in install


def test_the_image_runs_as_a_user_without_rights_and_with_a_number() -> None:
    assert of_image("USER") == "10001:10001"
    assert [name for name, _ in last_stage()].index("RUN") < [name for name, _ in last_stage()].index("USER")


def test_the_image_stops_on_sigterm_with_no_shell_in_between() -> None:
    assert of_image("STOPSIGNAL") == "SIGTERM"
    assert json.loads(of_image("ENTRYPOINT")) == ["streamlearn"]
    assert json.loads(of_image("CMD")) == ["run", "--config", "/etc/streamlearn/streamlearn.yaml"]


def test_the_settings_of_the_image_are_settings() -> None:
    config = load(environment=environment_of_image())
    assert config.monitor.host == "0.0.0.0"  # noqa: S104 - in a container
    assert str(config.monitor.port) == of_image("EXPOSE")
    assert config.publisher.directory == Path("/var/lib/streamlearn")


def test_what_the_image_writes_belongs_to_its_user() -> None:
    (prepare,) = [rest for name, rest in last_stage() if name == "RUN"]
    owned = re.search(r"install -d -o 10001 -g 10001 -m \d+ (.*)", prepare)
    variables = environment_of_image()
    assert owned
    assert set(owned[1].split()) == {variables["STREAMLEARN_PUBLISHER__DIRECTORY"], variables["HF_HOME"]}


@pytest.mark.parametrize("path", [".git", ".venv", "tests", "benchmarks", "deploy/GUARANTEES.md", "secret.env", "new"])
def test_the_build_context_leaves_out(path: str) -> None:
    assert ignored(path)


def test_the_build_context_has_all_that_the_dockerfile_copies() -> None:
    copied = [rest for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    for source in (source for rest in copied for source in rest.split()[:-1]):
        assert (ROOT / source).exists()
        assert not ignored(source)


def ignored(path: str) -> bool:
    """Whether .dockerignore, in which the last line that fits decides, leaves `path` out of the build context."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and (fnmatch(path, pattern) or path.startswith(f"{pattern}/")):
            verdict = not line.startswith("!")
    return verdict


@pytest.fixture
def health() -> Health:
    return Health(60.0)


def probe(server: Server, *arguments: str) -> int:
    command = [sys.executable, "-I", str(HEALTHCHECK), *arguments]
    variables = {"STREAMLEARN_MONITOR__PORT": str(server.port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(command, env=variables, check=False, capture_output=True, timeout=60).returncode


@contextmanager
def listening(health: Health, **settings: Any) -> Iterator[Server]:
    server = Server(
        Monitor(port=0, **settings),
        registry=Metrics(CollectorRegistry()).registry,
        health=health,
        live=Live(topic="t", group="g"),
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_the_health_check_says_whether_the_loop_is_alive() -> None:
    now = [0.0]
    health = Health(60.0, clock=lambda: now[0])
    with listening(health) as server:
        assert probe(server) == 0
        now[0] = 61.0
        assert probe(server) == 1
    assert probe(server) == 1


def test_the_health_check_of_compose_asks_whether_the_learner_is_ready(health: Health) -> None:
    *_, path = services()["streamlearn"]["healthcheck"]["test"]
    with listening(health) as server:
        assert probe(server, path) == 1
        health.model_loaded = health.joined = True
        assert probe(server, path) == 0


def test_the_health_check_needs_neither_a_certificate_that_fits_nor_a_password(tmp_path: Path, health: Health) -> None:
    made = make_certificates(tmp_path)
    user = {"username": "prometheus", "password": "a secret"}
    with listening(health, tls={"certificate": made.server, "key": made.server_key}, basic_auth=user) as server:
        assert probe(server) == 0


def test_image_and_compose_run_the_health_check_that_is_copied() -> None:
    assert f"COPY {HEALTHCHECK.relative_to(ROOT)} {INSTALLED}" in {" ".join(pair) for pair in last_stage()}
    assert json.loads(of_image("HEALTHCHECK").partition("CMD ")[2]) == ["python", "-I", INSTALLED]
    assert services()["streamlearn"]["healthcheck"]["test"][:4] == ["CMD", "python", "-I", INSTALLED]
