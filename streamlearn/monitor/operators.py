"""Who may control a learner over the port of its page.

Unless a token is required, that is any user who can read the key in the learner's state directory and sends the request
from the same machine. A web page in a local browser and a local proxy that forwards others' requests are on that
machine, too: so the key is in a header that a page must not send to another site without permission (CORS), the request
must name this machine as its host (against DNS rebinding), and it must not have any header of a proxy. A proxy that
sends no such header does not have the key.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from streamlearn.config import Monitor
from streamlearn.control import WORDS, Control
from streamlearn.errors import StateError
from streamlearn.monitor.health import Health
from streamlearn.storage.control_key import ControlKey

log = logging.getLogger(__name__)

HEADER = "x-streamlearn-control"
PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class Operators:
    """Receives the requests of operators.

    Parameters
    ----------
    config
        The section ``monitor``: who is allowed.
    health
        Says whether this learner is the active one.
    control
        Receives valid requests.
    key
        The key required if ``monitor.control`` is ``loopback``; without one nobody is allowed.

    """

    def __init__(self, config: Monitor, health: Health, control: Control, key: ControlKey | None) -> None:
        self._config, self._health, self._control, self._key = config, health, control, key

    def told(self, request: Request) -> PlainTextResponse:
        """Answer a command; on its own thread, because it reads from disk."""
        word = request.path_params["word"]
        if said := objection(request, self._config, self._key):
            return PlainTextResponse(f"{said}\n", 403)
        if word not in WORDS:
            return PlainTextResponse(f"it knows no '{word}'\n", 404)
        if not self._health.active:
            return PlainTextResponse(f"it is not the active learner: {self._health.state}\n", 409)
        ticket = self._control.ask(word)
        headers = {"location": f"/control/asked/{ticket}"} if ticket else {}
        return PlainTextResponse(f"{word}: asked; it looks after its current step\n", 202, headers)

    def became(self, request: Request) -> Response:
        """Answer with the outcome of a command, null while it is not known; on its own thread, too."""
        if said := objection(request, self._config, self._key):
            return PlainTextResponse(f"{said}\n", 403)
        try:
            kept = self._control.outcome(request.path_params["ticket"])
        except KeyError:
            return PlainTextResponse("nothing was asked for with this ticket\n", 404)
        return JSONResponse(kept and asdict(kept), headers={"cache-control": "no-store"})


def objection(request: Request, config: Monitor, key: ControlKey | None) -> str:
    """Return why `request` is refused; empty if it is accepted."""
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
        return "it was passed on by a proxy; only monitor.control: token allows that"
    if not (_is_here(request.client.host if request.client else "") and _is_here(request.url.hostname or "")):
        return "it does not come from this machine's loopback interface; only monitor.control: token allows that"
    return _without(key, given)


def _without(key: ControlKey | None, given: str) -> str:
    """Return why what was `given` is not accepted as `key`; empty if it is."""
    try:
        wanted = key.read() if key else ""
    except (OSError, StateError) as error:
        log.warning("an operator's command was refused, because the key cannot be read: %s", error)
        wanted = ""
    if not wanted:
        return "the learner cannot read its own key; a restart makes one where the disk allows it"
    right = secrets.compare_digest(given.encode("latin-1"), wanted.encode())
    return "" if right else "the key is not that in the learner's publisher.directory"


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
