"""The HTTP server: the live page, /metrics and the two probes on one port, on its own thread.

It reads what the learner shows and never waits for it, so it answers while a step is being computed.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import streamlearn
from streamlearn.config import Kafka, Monitor
from streamlearn.control import Control
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.monitor.connections import BoundedServer, Throttled, connections_allowed
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.operators import Operators
from streamlearn.monitor.security import middleware
from streamlearn.monitor.waiting import Waiting
from streamlearn.storage.control_key import ControlKey
from streamlearn.unforeseen import unforeseen

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Server:
    """Serves the live page, the metrics of `registry` and the two probes of `health`.

    Parameters
    ----------
    config
        The section ``monitor``: where to listen, and who has access. Port 0 takes a free one, which :attr:`port`
        returns.
    registry, health, live, waiting
        What to show.
    control
        Receives the requests of operators.
    key
        The key required if ``monitor.control`` is ``loopback``; without one nobody may control the learner.

    Raises
    ------
    ConfigurationError
        If the address cannot be listened on, the certificate cannot be used, or the limit on open files is too low.

    Attributes
    ----------
    failed
        The error that has ended the thread, or None.

    """

    def __init__(
        self,
        config: Monitor,
        *,
        registry: CollectorRegistry,
        health: Health,
        live: Live,
        waiting: Waiting | None = None,
        control: Control | None = None,
        key: ControlKey | None = None,
    ) -> None:
        tls = config.tls
        control = control or Control()
        waiting = waiting or Waiting(health, control, Kafka())
        operators = Operators(config, health, control, key)
        app = Throttled(make_app(config, registry, health, live, waiting, operators))
        server = uvicorn.Config(
            app,
            log_config=None,  # its log lines go to our log
            log_level="error",  # a warning for each invalid request could fill the disk
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            timeout_graceful_shutdown=2,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        try:
            server.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"monitor.tls: the certificate and its key cannot be used: {error}") from None
        limit = connections_allowed()
        self._socket = _listen(config.host, config.port)
        self.port: int = self._socket.getsockname()[1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}/"
        self._server = BoundedServer(server, app, limit=limit)
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self.failed: StreamlearnError | None = None

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
            if not self._stopping:
                raise self._server.failure or RuntimeError("the server has ended by itself")
        except BaseException as error:  # noqa: BLE001 - handed to the learning thread, which raises it
            self.failed = unforeseen("http", error)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Answer pending requests, then stop listening."""
        self._stopping = self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


def make_app(
    config: Monitor, registry: CollectorRegistry, health: Health, live: Live, waiting: Waiting, operators: Operators
) -> Starlette:
    """Return the ASGI application."""

    async def healthz(_: Request) -> PlainTextResponse:
        return PlainTextResponse("alive\n") if health.alive else PlainTextResponse("no heartbeat\n", 503)

    async def readyz(_: Request) -> PlainTextResponse:
        hindrance = health.hindrance
        return PlainTextResponse(f"{hindrance}\n", 503) if hindrance else PlainTextResponse("ready\n")

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in TYPES}  # requests open no files

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            return PlainTextResponse("there is no such file\n", 404)
        return Response(files[name], media_type=TYPES[Path(name).suffix])

    async def now(_: Request) -> JSONResponse:
        view = live.view() | {"state": waiting.state, "waits": waiting.view(), "streamlearn": streamlearn.__version__}
        return JSONResponse(view, headers={"cache-control": "no-store"})

    return Starlette(
        routes=[
            Route("/", page),
            Route("/live.json", now),
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/page/{name}", page),
            Route("/control/{word}", operators.told, methods=["POST"]),
            Route("/control/asked/{ticket}", operators.became),
        ],
        middleware=[Middleware(GZipMiddleware, thread_minimum_size=sys.maxsize), *middleware(config.basic_auth)],
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"monitor: cannot listen on {host}:{port}: {error.strerror}") from None
    listener.listen(128)
    return listener
