from __future__ import annotations

import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streamlearn.config import Monitor, Tls
from streamlearn.errors import ConfigurationError
from streamlearn.monitor import connections
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.metrics import Metrics
from streamlearn.monitor.server import Server
from tests.certificates import make_certificates

LIMIT = 10
SECONDS = 0.5
DEADLINE_SECONDS = 20.0

Serve = Callable[..., Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server of few connections, each with half a second for an exchange or a handshake."""
    monkeypatch.setattr(connections, "CONNECTIONS", LIMIT)
    monkeypatch.setattr(connections, "EXCHANGE_SECONDS", SECONDS)
    monkeypatch.setattr(connections, "HANDSHAKE_SECONDS", SECONDS)
    with ExitStack() as stack:

        def start(tls: Tls | None = None) -> Server:
            registry = Metrics(CollectorRegistry()).registry
            health, live = Health(60.0), Live(topic="t", group="g")
            server = Server(Monitor(port=0, tls=tls), registry=registry, health=health, live=live)
            server.start()
            stack.callback(server.stop)
            return server

        yield start


def connect(server: Server, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_SECONDS)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what it had sent before is dropped."""
    connection.settimeout(0.01)
    try:
        while connection.recv(2**16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def wait_until_closed(open_ones: list[socket.socket], *, left: int = 0) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len([connection for connection in open_ones if not is_closed(connection)]) > left:
        assert time.monotonic() < deadline, "connections stay open"


def answers(server: Server, path: str = "healthz", context: ssl.SSLContext | None = None) -> bool:
    with urllib.request.urlopen(server.url + path, timeout=DEADLINE_SECONDS, context=context) as answer:
        return bool(answer.status == 200)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - it lists descriptors


def test_whoever_comes_is_let_in_and_who_has_been_silent_longest_has_to_go(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "EXCHANGE_SECONDS", DEADLINE_SECONDS)  # they go for their number, not their age
    server = serve()
    assert answers(server)
    before, silent = descriptors(), []
    for _ in range(20 * LIMIT):
        silent.append(connect(server))
        if len(silent) % LIMIT == 0:
            assert answers(server)
            assert answers(server, "metrics")
            assert descriptors() - before - len(silent) <= LIMIT + 2  # ours are counted too
    wait_until_closed(silent[: -LIMIT + 1])


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
        b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 15_000,
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000,  # and reads none of the answers
    ],
    ids=["nothing", "half a request", "an endless header", "half a body", "an upgrade", "more than it reads"],
)
def test_a_connection_without_an_exchange_is_closed(serve: Serve, sent: bytes) -> None:
    server = serve()
    assert answers(server)
    before, lazy = descriptors(), []
    for _ in range(3):
        connection = socket.socket()
        connection.connect(("127.0.0.1", server.port))
        connection.setblocking(False)
        connection.send(sent)
        lazy.append(connection)
    assert answers(server)  # those before have been let in
    deadline = time.monotonic() + DEADLINE_SECONDS
    while descriptors() > before + len(lazy):
        assert time.monotonic() < deadline, "connections stay open"
    assert answers(server)


def test_a_request_that_comes_byte_by_byte_does_not_keep_its_connection(serve: Serve) -> None:
    server, started = serve(), time.monotonic()
    with connect(server) as slow:
        while not is_closed(slow):
            slow.sendall(b"G")
            assert time.monotonic() - started < DEADLINE_SECONDS
    assert time.monotonic() - started >= SECONDS / 2


def test_a_connection_that_is_used_again_and_again_stays(serve: Serve) -> None:
    server, started = serve(), time.monotonic()
    with connect(server) as kept:
        while time.monotonic() - started < 3 * SECONDS:
            kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"alive" not in answer:
                more = kept.recv(2**16)
                assert more, "it was closed"
                answer += more


def test_a_handshake_that_does_not_end_is_closed_and_holds_nobody_up(serve: Serve, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    server = serve(Tls(certificate=certificates.server, key=certificates.server_key))
    trusting = ssl.create_default_context(cafile=str(certificates.authority))
    silent = [connect(server, b"\x16\x03\x01\x02\x00" if number % 2 else b"") for number in range(5 * LIMIT)]
    assert answers(server, context=trusting)
    wait_until_closed(silent)
    assert answers(server, context=trusting)


def test_a_request_that_is_none_is_answered_and_not_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve()
    with connect(server, b"\x00\xff nonsense\r\n\r\n") as junk:
        assert b"400" in junk.recv(2**10)
    assert answers(server)
    assert caplog.records == []


def test_what_ends_the_thread_is_kept_for_whoever_looks(serve: Serve) -> None:
    server = serve()
    assert answers(server)
    assert server.failed is None
    server._socket.shutdown(socket.SHUT_RDWR)  # nobody can be accepted on it any more
    server._thread.join(DEADLINE_SECONDS)
    assert "http" in str(server.failed)


@pytest.mark.parametrize(
    ("limit", "allowed"), [(resource.RLIM_INFINITY, 100), (100_000, 100), (1024, 100), (262, 100), (128, 33)]
)
def test_the_connections_are_half_of_what_the_limit_on_open_files_leaves(
    monkeypatch: pytest.MonkeyPatch, limit: int, allowed: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(connections, "_open_files", lambda: 14)
    assert connections.connections_allowed() == allowed


def test_a_limit_on_open_files_that_is_too_low_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (50, 50))
    with pytest.raises(ConfigurationError, match=r"the limit on open files is 50 \(ulimit -n\), .* needs at least"):
        connections.connections_allowed()


def test_where_descriptors_are_used_up_it_waits_says_so_once_and_goes_on() -> None:
    script = """
import logging, os, resource, socket, sys, time, urllib.request
from prometheus_client import CollectorRegistry
from streamlearn.config import Monitor
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.server import Server
logging.basicConfig(stream=sys.stdout, format="%(message)s")
server = Server(Monitor(port=0), registry=CollectorRegistry(), health=Health(60.0), live=Live(topic="t", group="g"))
server.start()
urllib.request.urlopen(server.url + "healthz").read()
client = socket.socket()
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
client.connect(("127.0.0.1", server.port))
started = time.process_time()
time.sleep(2.5)
assert time.process_time() - started < 0.5, "it spins"
for descriptor in held:
    os.close(descriptor)
client.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
print(client.recv(100).split(b"\\r\\n")[0].decode())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "no connection can be accepted on monitor.port: Too many open files; trying again",
        "HTTP/1.1 200 OK",
    ]


def test_however_often_it_is_asked_it_uses_a_part_of_a_processor_and_answers_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "EXCHANGE_SECONDS", DEADLINE_SECONDS)  # a busy machine decides nothing
    server = serve()
    assert answers(server)
    (thread,) = (t.native_id for t in threading.enumerate() if t.name == "http")
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            with suppress(OSError), connect(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5) as connection:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(2**16):
                    pass

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(LIMIT // 2)]
    try:
        for client in clients:
            client.start()
        used, started = processor_seconds(thread), time.monotonic()
        while time.monotonic() - started < 3.0:
            assert answers(server)
        used, seconds = processor_seconds(thread) - used, time.monotonic() - started
    finally:
        ended.set()
    assert used <= 1.5 * connections.SHARE * seconds


def processor_seconds(thread: int | None) -> float:
    fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
