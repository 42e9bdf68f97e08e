"""Read access: HTTP basic authentication, and security headers for browsers."""

from __future__ import annotations

import base64
import binascii
import secrets

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response

from streamlearn.config import BasicAuth

PROBES = ("/healthz", "/readyz")  # they only say yes or no, and kubelet has no password
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class OneUser(AuthenticationBackend):
    """Admits one user, by name and password (RFC 7617), and everybody to the probes."""

    def __init__(self, user: BasicAuth) -> None:
        self._user = user

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        """Return the user of `conn`; AuthenticationError if it is not that user."""
        if conn.scope["path"] in PROBES:  # conn.url would follow the client's Host header
            return None
        scheme, _, encoded = conn.headers.get("authorization", "").partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            given = b""
        wanted = f"{self._user.username}:{self._user.password.get_secret_value()}".encode()
        if scheme.lower() != "basic" or not secrets.compare_digest(given, wanted):
            raise AuthenticationError
        return AuthCredentials(["authenticated"]), SimpleUser(self._user.username)


def middleware(user: BasicAuth | None) -> list[Middleware]:
    """Return the middleware for all requests."""
    layers = [Middleware(BaseHTTPMiddleware, dispatch=_add_headers)]
    if user:
        layers.append(Middleware(AuthenticationMiddleware, backend=OneUser(user), on_error=_who_are_you))
    return layers


def _who_are_you(_: HTTPConnection, __: Exception) -> Response:
    return PlainTextResponse("name and password, please\n", 401, {"WWW-Authenticate": 'Basic realm="streamlearn"'})


async def _add_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response
