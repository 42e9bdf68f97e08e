"""Who may tell a learner what to do, over the port of its page.

Whoever runs on the same machine may, unless a token is asked for. A page in somebody's browser runs there, too, and so
does a proxy that lets others in: so the request has a header that a page may not send to another site without being
allowed to (CORS), names this machine as its host (against DNS rebinding), and was passed on by nobody who says so.
"""

from __future__ import annotations

import ipaddress
import secrets

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from streamlearn.config import Monitor
from streamlearn.control import WORDS, Control
from streamlearn.monitor.health import Health

HEADER = "x-streamlearn-control"
PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class Operators:
    """Takes what operators ask for.

    Parameters
    ----------
    config
        The section ``monitor``: who may.
    health
        Says whether this learner is the active one.
    control
        Where it goes.

    """

    def __init__(self, config: Monitor, health: Health, control: Control) -> None:
        self._config, self._health, self._control = config, health, control

    async def told(self, request: Request) -> PlainTextResponse:
        """Answer a request to do something."""
        word = request.path_params["word"]
        if said := objection(request, self._config):
            return PlainTextResponse(f"{said}\n", 403)
        if word not in WORDS:
            return PlainTextResponse(f"it knows no '{word}'\n", 404)
        if not self._health.active:
            return PlainTextResponse(f"it is not the active learner: {self._health.state}\n", 409)
        self._control.ask(word)
        return PlainTextResponse(f"{word}: asked; it looks after its current step\n", 202)


def objection(request: Request, config: Monitor) -> str:
    """Return why `request` is not obeyed, nothing where it is."""
    given = request.headers.get(HEADER, "")
    if config.control == "off":
        return "monitor.control is off: nobody may tell this learner what to do over its port"
    if config.control == "token":
        wanted = config.control_token.get_secret_value() if config.control_token else ""
        right = bool(wanted) and secrets.compare_digest(given.encode("latin-1"), wanted.encode())  # as it was sent
        return "" if right else "the token is not that of monitor.control_token"
    if not given:
        return f"the header {HEADER} is missing"
    if any(name in request.headers for name in PASSED_ON):
        return "it was passed on by a proxy; with monitor.control: token that is no matter"
    if not (_is_here(request.client.host if request.client else "") and _is_here(request.url.hostname or "")):
        return "it does not come from this machine's loopback interface; with monitor.control: token that is no matter"
    return ""


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
