"""The HTTP server: /metrics, /healthz and /readyz on one port, on a thread of its own.

It reads what the learner shows and never waits for it, so it answers while a step is being computed.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streamlearn.errors import ConfigurationError


class Health:
    """Whether the loop is alive and ready to learn.

    Parameters
    ----------
    timeout
        Seconds without a heartbeat after which it counts as dead.
    clock
        A monotonic clock in seconds.

    """

    def __init__(self, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout, self._clock = timeout, clock
        self._last = clock()
        self.model_loaded = False
        self.joined = False

    def beat(self) -> None:
        """Say that the loop came round."""
        self._last = self._clock()

    @property
    def alive(self) -> bool:
        """Whether there was a heartbeat within the timeout."""
        return self._clock() - self._last <= self._timeout

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and the group has let this learner in, as its active member or a standby."""
        return self.model_loaded and self.joined


class Server:
    """Serves the metrics of `registry` and the two probes of `health`.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one, which :attr:`port` tells.
    registry, health
        What to show.

    Raises
    ------
    ConfigurationError
        If the address cannot be listened on.

    """

    def __init__(self, *, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        app = make_app(registry, health)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what was asked, then stop listening."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()


def make_app(registry: CollectorRegistry, health: Health) -> Starlette:
    """Return the ASGI application."""

    async def healthz(_: Request) -> PlainTextResponse:
        return PlainTextResponse("alive\n") if health.alive else PlainTextResponse("no heartbeat\n", 503)

    async def readyz(_: Request) -> PlainTextResponse:
        if health.ready:
            return PlainTextResponse("ready\n")
        waiting = "the group" if health.model_loaded else "the model"
        return PlainTextResponse(f"waiting for {waiting}\n", 503)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


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
