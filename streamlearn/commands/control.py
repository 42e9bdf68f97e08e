"""Tells a running learner what to do, over its own port."""

from __future__ import annotations

from http import HTTPStatus

from streamlearn.commands.asking import Asking
from streamlearn.config import Monitor
from streamlearn.errors import ConfigurationError, StreamlearnError

HEADER = "X-Streamlearn-Control"


def tell(config: Monitor, word: str) -> str:
    """Tell the learner of `config` to do what `word` says, and return its answer.

    Raises
    ------
    StreamlearnError
        If no learner answers, it stands by, or it does not obey whoever asks.
    ConfigurationError
        If ``monitor`` does not say where it is.

    """
    asking = Asking(config)
    token = config.control_token.get_secret_value() if config.control_token else "yes"
    if not token.isprintable():
        raise ConfigurationError("monitor.control_token holds a character that no header can carry")
    answer = asking.ask(f"control/{word}", method="POST", headers={HEADER: token.encode()})
    if answer is None:
        raise StreamlearnError(f"no learner answers at {asking.url}")
    said = answer.body.decode(errors="replace").strip()
    if answer.status != HTTPStatus.ACCEPTED:
        raise StreamlearnError(f"the learner at {asking.url} does not {word}: {said or answer.status}")
    return said
