"""Lets few connections in, each for a short time, so that one port cannot cost the learner its file descriptors.

uvicorn bounds neither: a connection that never sends a request stays for ever, and once the descriptors are used up,
checkpoints cannot be written either. So at most :func:`connections_allowed` are open at a time. Who comes when all are
taken is let in, in the place of the one that has waited longest for a request or an answer: whoever floods the port
drives out its own connections, and a probe or a scrape, which sends its request at once, is answered.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamlearn.errors import ConfigurationError

log = logging.getLogger(__name__)

CONNECTIONS = 100  # each takes a descriptor and at most some 300 KiB; probes, scrapes and pages take ten
LEAST_CONNECTIONS = 4
RESERVE = 48  # descriptors: a learner on one broker takes 17, each further broker 3, a checkpoint or a snapshot 3
EXCHANGE_SECONDS = 10.0  # Prometheus gives a scrape up after as many
HANDSHAKE_SECONDS = 5.0
RETRY_SECONDS = 1.0
NO_LISTENER = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)  # of the errors of accept(2), those that do not pass


def connections_allowed() -> int:
    """Return how many connections may be open at a time: half of what the limit on open files leaves, or 100.

    Raises
    ------
    ConfigurationError
        If the limit does not suffice for the learner itself.

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


class Connection(H11Protocol):
    """A connection that is cut where a request has not come and been answered within ``EXCHANGE_SECONDS``.

    Attributes
    ----------
    since
        When it was accepted or last had answered, in the loop's seconds.
    handshake
        The task that brings it about.

    """

    def __init__(self, server: BoundedServer) -> None:
        super().__init__(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)
        self._server = server
        self._deadline: asyncio.TimerHandle | None = None
        self.since = self.loop.time()
        self.handshake: asyncio.Task[Any] | None = None

    @property
    def busy(self) -> bool:
        """Whether it has been asked something that it has not answered yet."""
        return bool(self.cycle) and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count the seconds, with any TLS handshake behind."""
        super().connection_made(transport)
        self._wait_for_exchange()

    def on_response_complete(self) -> None:
        """Count anew: an answer has been written."""
        self._wait_for_exchange()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place to others."""
        if self._deadline:
            self._deadline.cancel()
        self._server.forget(self)
        super().connection_lost(exc)

    def _wait_for_exchange(self) -> None:
        """Count anew the seconds that are left; what is written but not read by then is dropped."""
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
    config
        uvicorn's.
    limit
        How many may be open at a time.

    Attributes
    ----------
    failure
        What ended it, if something unforeseen did.

    """

    def __init__(self, config: uvicorn.Config, *, limit: int) -> None:
        super().__init__(config)
        self._limit = limit
        self._open: set[Connection] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self.failure: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept on `sockets`."""
        await super().startup(sockets=[])
        for listener in sockets or []:
            listener.setblocking(False)
            task = asyncio.create_task(self._accept(listener))
            task.add_done_callback(self._ended)
            self._accepting.append(task)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and answer what was asked."""
        for task in self._accepting:
            task.cancel()
        for connection in [c for c in self._open if not c.transport]:
            connection.cut()
        await super().shutdown(sockets=sockets)

    async def _accept(self, listener: socket.socket) -> None:
        loop, said = asyncio.get_running_loop(), False
        while True:
            await asyncio.sleep(0)  # to accept what waits does not yield to the loop
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
            while len(self._open) >= self._limit:
                longest = min(self._open, key=lambda connection: (connection.busy, connection.since))
                self.forget(longest)
                longest.cut()
            self._let_in(loop, accepted)

    def _let_in(self, loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
        connection = Connection(self)
        tls = self.config.ssl
        seconds = HANDSHAKE_SECONDS if tls else None
        coming = loop.connect_accepted_socket(lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=seconds)
        connection.handshake = asyncio.ensure_future(coming)
        self._open.add(connection)

        def come(handshake: asyncio.Task[Any]) -> None:
            if handshake.cancelled() or handshake.exception():  # it never was a connection
                accepted.close()
                self.forget(connection)

        connection.handshake.add_done_callback(come)

    def forget(self, connection: Connection) -> None:
        """Count `connection` no longer."""
        self._open.discard(connection)

    def _ended(self, accepting: asyncio.Task[None]) -> None:
        if not accepting.cancelled() and accepting.exception():
            self.failure = accepting.exception()
            self.should_exit = True
