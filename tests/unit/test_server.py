from __future__ import annotations

import base64
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from streamlearn.config import BasicAuth, Monitor, Tls
from streamlearn.errors import ConfigurationError
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.metrics import Metrics
from streamlearn.monitor.server import Server
from tests.certificates import Certificates, make_certificates
from tests.unit.builders import Clock

USER = BasicAuth(username="prometheus", password=SecretStr("a:secret"))


Start = Callable[..., Server]


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(60.0, clock=clock)


@pytest.fixture
def start(health: Health) -> Iterator[Start]:
    """Starts a server with the settings given, and stops it after the test."""
    servers = []

    def start(**settings: Any) -> Server:
        config = Monitor(**{"port": 0} | settings)
        registry = Metrics(CollectorRegistry()).registry
        server = Server(config, registry=registry, health=health, live=Live(topic="t", group="g"))
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def status(server: Server, path: str, authorization: str = "") -> int:
    request = urllib.request.Request(server.url + path, headers={"Authorization": authorization})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_probes_follow_the_heartbeat_the_model_and_the_partitions(
    start: Start, health: Health, clock: Clock
) -> None:
    server = start()
    assert (status(server, "healthz"), status(server, "readyz"), status(server, "metrics")) == (200, 503, 200)
    health.model_loaded = health.joined = True
    clock.now = 61.0
    assert (status(server, "healthz"), status(server, "readyz")) == (503, 200)
    health.beat()
    assert status(server, "healthz") == 200


def test_an_address_that_is_taken_is_one_sentence(start: Start) -> None:
    server = start()
    with pytest.raises(ConfigurationError, match="cannot listen"):
        start(port=server.port)


def test_the_state_in_a_word_says_what_it_waits_for(health: Health, clock: Clock) -> None:
    assert health.state == "loading the model"
    health.model_loaded = True
    assert health.state == "waiting for the group"
    health.joined = True
    assert health.state == "standby"
    health.active = True
    assert health.state == "active"
    health.kafka_answers = False
    assert health.state == "waiting for Kafka"
    clock.now = 61.0
    assert health.state == "not responding"


def test_the_page_and_all_it_needs_come_from_here_and_a_browser_is_told_so(start: Start) -> None:
    server = start()
    with urllib.request.urlopen(server.url, timeout=10) as answer:
        page, headers = answer.read().decode(), answer.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    for asset in ("page/page.js", "page/page.css", "page/uPlot.iife.min.js", "page/uPlot.min.css", "page/icon.svg"):
        assert asset in page
        assert status(server, asset) == 200
    assert "//" not in page.replace("<!doctype html>", "")
    assert status(server, "page/../server.py") == 404
    with urllib.request.urlopen(server.url + "live.json", timeout=10) as answer:
        assert json.load(answer)["state"] == "loading the model"


def test_with_basic_auth_only_the_probes_are_for_everybody(start: Start) -> None:
    server = start(basic_auth=USER)
    right = base64.b64encode(b"prometheus:a:secret").decode()
    wrong = base64.b64encode(b"prometheus:a:guess").decode()
    for path in ("", "metrics", "live.json", "page/page.js", "nowhere"):
        for header in ("", f"Basic {wrong}", f"Bearer {right}", "Basic not-base64", "Basic"):
            assert status(server, path, header) == 401, (path, header)
    for path in ("", "metrics", "live.json", "page/page.js"):
        assert status(server, path, f"Basic {right}") == 200
    assert status(server, "healthz") == 200
    assert status(server, "readyz") == 503


def test_a_host_header_that_names_a_probe_opens_nothing_else(start: Start) -> None:
    server = start(basic_auth=USER)
    for host in ("x/healthz?", "x/readyz#", "healthz"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert b"200" not in connection.recv(100).partition(b"\r\n")[0]


def test_with_tls_it_speaks_nothing_else(start: Start, certificates: Certificates) -> None:
    server = start(tls=Tls(certificate=certificates.server, key=certificates.server_key))
    trusting = ssl.create_default_context(cafile=str(certificates.authority))
    with urllib.request.urlopen(server.url + "metrics", timeout=10, context=trusting) as answer:
        assert b"streamlearn_build_info" in answer.read()
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(server.url.replace("https", "http") + "metrics", timeout=10)


def test_a_certificate_that_cannot_be_used_is_one_sentence(start: Start, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    for certificate in (tmp_path / "missing", tmp_path / "key"):
        with pytest.raises(ConfigurationError, match=r"monitor\.tls: the certificate and its key cannot be used"):
            start(tls=Tls(certificate=certificate, key=tmp_path / "key"))
