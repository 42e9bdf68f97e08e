"""Sends requests to the learner on this machine, over its own port, with whatever access its configuration asks for."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus

from streamlearn.config import Monitor
from streamlearn.errors import ConfigurationError, StreamlearnError

SECONDS = 10.0
CUT_OFF = (TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
"""What a request raises if something listens but does not answer."""
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a server listens, and where it is asked
LARGEST = 2**24  # most bytes of an answer


class NoAnswerError(StreamlearnError):
    """Something listens but has not answered; the next request may succeed."""


@dataclass(frozen=True)
class Answer:
    """An answer: the HTTP status, the body, and the path of a later result, if any."""

    status: int
    body: bytes
    location: str = ""


class Asking:
    """Sends requests to the learner of a configuration.

    Parameters
    ----------
    config
        The section ``monitor``: where it listens, and who may read from it.

    Attributes
    ----------
    url
        The address that requests go to.

    """

    def __init__(self, config: Monitor) -> None:
        self._config = config
        self._host = ANYWHERE.get(config.host, config.host)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{'https' if config.tls else 'http'}://{shown}:{config.port}/"

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, bytes] | None = None,
        within: float = SECONDS,
    ) -> Answer | None:
        """Return the answer to a request for `path`, or None if nothing listens.

        Waits up to `within` seconds, and no longer than :data:`SECONDS`.

        Raises
        ------
        NoAnswerError
            If something listens and does not answer.
        ConfigurationError
            If ``monitor.port`` is 0, so that the port is unknown, or the certificate of ``monitor.tls`` cannot be read.
        StreamlearnError
            If the learner refuses the request, or something other than a learner answers.

        """
        if not self._config.port:
            raise ConfigurationError(
                "monitor.port is 0, so a learner takes any free port; the first lines of its log name it: "
                "add --set monitor.port=…"
            )
        try:
            with closing(self._connection(min(within, SECONDS))) as connection:
                connection.request(method, f"/{path}", headers={**self._authorization(), **(headers or {})})
                answer = connection.getresponse()
                found = Answer(answer.status, answer.read(LARGEST), answer.getheader("location", ""))
        except ssl.SSLError as error:
            raise StreamlearnError(f"{self.url} does not answer with the certificate of monitor.tls: {error}") from None
        except CUT_OFF as error:
            raise NoAnswerError(f"the learner at {self.url} does not answer: {error.strerror or error}") from None
        except OSError:
            return None
        except http.client.HTTPException:
            raise StreamlearnError(f"what answers at {self.url} is not a streamlearn learner") from None
        if found.status == HTTPStatus.UNAUTHORIZED:
            raise StreamlearnError(
                f"the learner at {self.url} asks for the name and password of its monitor.basic_auth"
            )
        return found

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        tls = self._config.tls
        if tls is None:
            return http.client.HTTPConnection(self._host, self._config.port, timeout=seconds)
        context = ssl.create_default_context()
        context.check_hostname = False  # exactly this certificate is required, whatever name it is for
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(tls.certificate)
        except OSError as error:
            raise ConfigurationError(f"monitor.tls.certificate {tls.certificate} cannot be read: {error}") from None
        return http.client.HTTPSConnection(self._host, self._config.port, timeout=seconds, context=context)

    def _authorization(self) -> dict[str, str]:
        user = self._config.basic_auth
        if user is None:
            return {}
        both = f"{user.username}:{user.password.get_secret_value()}".encode()
        return {"Authorization": f"Basic {base64.b64encode(both).decode()}"}
