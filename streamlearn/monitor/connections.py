"""Limits connections in number and time: the port must not use up the learner's file descriptors or CPU.

uvicorn limits neither: a connection that never sends a request stays open for ever, and once the descriptors are used
up, checkpoints cannot be written either. So at most :func:`connections_allowed` are open at a time. A new one beyond
that replaces the one that has been idle longest: a client that floods the port drives out its own connections, and a
probe or a scrape, which sends its request at once, is answered. And the thread uses at most a third of a CPU core, so
that learning continues, however many requests there are.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import time
from pathlib import Path
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamlearn.errors import ConfigurationError

log = logging.getLogger(__name__)

CONNECTIONS = 100  # each takes a descriptor and at most about 300 KiB; probes, scrapes and pages need ten
LEAST_CONNECTIONS = 4
RESERVE = 48  # descriptors: a learner on one broker takes 17, each further broker 3, a checkpoint or a snapshot 3
EXCHANGE_SECONDS = 10.0  # Prometheus gives a scrape up after as many
HANDSHAKE_SECONDS = 5.0
RETRY_SECONDS = 1.0
FULL_SECONDS = 0.01
SHARE = 1 / 3  # of one processor: some 150 scrapes or 2,000 silent connections a second
NO_LISTENER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)  # errors of accept(2) that are permanent


def connections_allowed() -> int:
    """Return how many connections may be open at a time: half of the spare open files, at most 100.

    Raises
    ------
    ConfigurationError
        If the limit on open files is too low for the learner itself.

    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return CONNECTIONS
    needed = _open_files() + RESERVE + 2 * LEAST_CONNECTIONS
    if limit < needed:
        raise ConfigurationError(
            f"the limit on open files is {limit} (ulimit -n), and the learner needs at least {needed}; raise it"
        )
    return min(CONNECTIONS, LEAST_CONNECTIONS + (limit - needed) // 2)


def _open_files() -> int:
    listing = Path("/proc/self/fd")
    return len(os.listdir(listing)) if listing.is_dir() else 16  # noqa: PTH208 - it lists descriptors


class Throttle:
    """Keeps the calling thread from using more than ``SHARE`` of a CPU core.

    Each call waits until the CPU time used since the previous call is within the share; calls are served in turn.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._used, self._at = time.thread_time(), time.monotonic()

    async def __call__(self) -> None:
        """Wait until the CPU time used is within the share."""
        async with self._turn:
            used, now = time.thread_time(), time.monotonic()
            due = max(now, self._at + (used - self._used) / SHARE)
            self._used, self._at = used, due
            await asyncio.sleep(due - now)


class Throttled:
    """An application that answers no faster than ``throttle`` allows.

    Parameters
    ----------
    app
        The application.

    Attributes
    ----------
    throttle
        Set by the server, on its own thread.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.throttle: Throttle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer when it is this request's turn."""
        if self.throttle:
            await self.throttle()
        await self._app(scope, receive, send)


class Connection(H11Protocol):
    """A connection that is closed unless a request is received and answered within ``EXCHANGE_SECONDS``.

    Attributes
    ----------
    since
        When it was accepted, or finished its last response, in the loop's seconds.
    handshake
        The task that establishes it.

    """

    def __init__(self, server: BoundedServer) -> None:
        super().__init__(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)
        self._server = server
        self._deadline: asyncio.TimerHandle | None = None
        self.since = self.loop.time()
        self.handshake: asyncio.Task[Any] | None = None

    @property
    def busy(self) -> bool:
        """Whether a response is being produced; one that the client does not read does not count."""
        return bool(self.cycle) and not self.cycle.response_complete and not self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout, after any TLS handshake."""
        super().connection_made(transport)
        self._wait_for_exchange()

    def on_response_complete(self) -> None:
        """Restart the timeout; close instead if others are waiting, or if the request has an unread rest."""
        self._wait_for_exchange()
        if self._server.is_full or self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free its place."""
        if self._deadline:
            self._deadline.cancel()
        self._server.forget(self)
        super().connection_lost(exc)

    def _wait_for_exchange(self) -> None:
        """Restart the timeout; what is written but not read by its end is dropped."""
        self.since = self.loop.time()
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(EXCHANGE_SECONDS, self.transport.abort)

    def cut(self) -> None:
        """Close it at once."""
        if self.transport:
            self.transport.abort()
        elif self.handshake:
            self.handshake.cancel()


class BoundedServer(uvicorn.Server):
    """A server that accepts connections itself, and no more than `limit` of them.

    Parameters
    ----------
    config, app
        uvicorn's, and the application that it names.
    limit
        How many may be open at a time.

    Attributes
    ----------
    failure
        The unexpected error that ended it, if any.

    """

    def __init__(self, config: uvicorn.Config, app: Throttled, *, limit: int) -> None:
        super().__init__(config)
        self._app, self._limit = app, limit
        self._open: set[Connection] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self.failure: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections on `sockets`."""
        await super().startup(sockets=[])
        throttle = self._app.throttle = Throttle()
        for listener in sockets or []:
            listener.setblocking(False)
            task = asyncio.create_task(self._accept(listener, throttle))
            task.add_done_callback(self._ended)
            self._accepting.append(task)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, and answer pending requests."""
        for task in self._accepting:
            task.cancel()
        for connection in [c for c in self._open if not c.transport]:
            connection.cut()
        await super().shutdown(sockets=sockets)

    async def _accept(self, listener: socket.socket, throttle: Throttle) -> None:
        loop, said = asyncio.get_running_loop(), False
        while True:
            await throttle()
            try:
                accepted, _ = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno in NO_LISTENER:
                    raise
                if not said:
                    log.warning("no connection can be accepted on monitor.port: %s; trying again", error.strerror)
                said = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            said = False
            while not self._make_room():  # noqa: ASYNC110 - an answer, a reader or a deadline may end it
                await asyncio.sleep(FULL_SECONDS)
            self._let_in(loop, accepted)

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return len(self._open) >= self._limit

    def _make_room(self) -> bool:
        """Return whether one more connection may be opened, closing the one that has been idle longest if necessary."""
        if not self.is_full:
            return True
        idle = [connection for connection in self._open if not connection.busy]
        if not idle:
            return False
        longest = min(idle, key=lambda connection: connection.since)
        self.forget(longest)
        longest.cut()
        return True

    def _let_in(self, loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
        connection = Connection(self)
        tls = self.config.ssl
        seconds = HANDSHAKE_SECONDS if tls else None
        coming = loop.connect_accepted_socket(lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=seconds)
        connection.handshake = asyncio.ensure_future(coming)
        self._open.add(connection)

        def come(handshake: asyncio.Task[Any]) -> None:
            if handshake.cancelled() or handshake.exception():  # it was never established
                accepted.close()
                self.forget(connection)

        connection.handshake.add_done_callback(come)

    def forget(self, connection: Connection) -> None:
        """Stop counting `connection`."""
        self._open.discard(connection)

    def _ended(self, accepting: asyncio.Task[None]) -> None:
        if not accepting.cancelled() and accepting.exception():
            self.failure = accepting.exception()
            self.should_exit = True
