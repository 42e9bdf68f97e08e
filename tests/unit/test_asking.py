from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from streamlearn.commands import asking
from streamlearn.commands.asking import Asking
from streamlearn.commands.status import status
from streamlearn.config import BasicAuth, Config, Monitor, Tls, load
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError
from streamlearn.local.broker import free_port
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.metrics import Metrics
from streamlearn.monitor.server import Server
from tests.certificates import make_certificates

USER = BasicAuth(username="prometheus", password=SecretStr("a:secret"))
Start = Callable[..., Monitor]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server, and returns the settings with which it is asked."""
    servers = []

    def start(**settings: Any) -> Monitor:
        config = Monitor(**{"port": free_port()} | settings)
        live = Live(topic="tickets", group="learners")
        server = Server(config, registry=Metrics(CollectorRegistry()).registry, health=Health(60.0), live=live)
        server.start()
        servers.append(server)
        return config

    yield start
    for server in servers:
        server.stop()


def config_of(monitor: Monitor, directory: Path, **kafka: str) -> Config:
    overrides = [f"kafka.{name}={value}" for name, value in ({"topic": "tickets", "group": "learners"} | kafka).items()]
    config = load(overrides=[*overrides, f"publisher.directory={directory}"])
    return config.model_copy(update={"monitor": monitor})


def test_a_running_learner_is_asked_with_its_own_password_and_over_its_own_certificate(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    certificates = make_certificates(tmp_path)
    tls = Tls(certificate=certificates.server, key=certificates.server_key)
    for settings in ({}, {"basic_auth": USER}, {"tls": tls}, {"tls": tls, "basic_auth": USER}, {"host": "0.0.0.0"}):  # noqa: S104
        monitor = start(**settings)
        found = status(config_of(monitor, tmp_path / "nothing"))
        assert found.live is not None
        assert found.live["topic"] == "tickets"
        assert found.live["state"] == "loading the model"


def test_who_may_not_look_or_asks_the_wrong_learner_is_told_so(start: Start, tmp_path: Path) -> None:
    monitor = start(basic_auth=USER)
    with pytest.raises(StreamlearnError, match="asks for the name and password"):
        Asking(monitor.model_copy(update={"basic_auth": None})).ask("live.json")
    with pytest.raises(StreamlearnError, match="is that of group learners of topic tickets, and not of group"):
        status(config_of(monitor, tmp_path, topic="mails"))
    certificates = make_certificates(tmp_path)
    with_tls = monitor.model_copy(update={"tls": Tls(certificate=certificates.server, key=certificates.server_key)})
    with pytest.raises(StreamlearnError, match=r"does not answer with the certificate of monitor\.tls"):
        Asking(with_tls).ask("live.json")


def test_where_nobody_answers_and_nothing_was_left_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no learner answers at http://127\.0\.0\.1:\d+/, and publisher\.directory"):
        status(config_of(Monitor(port=free_port()), tmp_path))
    with pytest.raises(ConfigurationError, match=r"monitor\.port is 0"):
        status(config_of(Monitor(port=0), tmp_path))


def test_where_somebody_listens_and_does_not_answer_it_is_as_where_nobody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StateError, match="no learner answers at"),
    ):
        status(config_of(Monitor(port=silent.getsockname()[1]), tmp_path))


def test_what_answers_and_is_no_learner_is_told(tmp_path: Path) -> None:
    import http.server  # noqa: PLC0415
    import threading  # noqa: PLC0415

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(["no learner"]).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(StreamlearnError, match="is not a streamlearn learner"):
            status(config_of(Monitor(port=server.server_port), tmp_path))
