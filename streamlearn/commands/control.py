"""Tells a running learner what to do, over its own port."""

from __future__ import annotations

from http import HTTPStatus

from streamlearn.commands.asking import Asking
from streamlearn.config import Config
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError
from streamlearn.storage.control_key import ControlKey

HEADER = "X-Streamlearn-Control"


def tell(config: Config, word: str) -> str:
    """Tell the learner of `config` to do what `word` says, and return its answer.

    Raises
    ------
    StreamlearnError
        If no learner answers, it stands by, or it does not obey whoever asks.
    StateError
        If a learner answers, and the key by which it knows who may ask cannot be read.
    ConfigurationError
        If ``monitor`` does not say where it is.

    """
    asking = Asking(config.monitor)
    known, trouble = _known_by(config)
    headers = {HEADER: known.encode()} if known else {}
    answer = asking.ask(f"control/{word}", method="POST", headers=headers)
    if answer is None:
        raise StreamlearnError(f"no learner answers at {asking.url}")
    if trouble:
        raise StateError(
            f"the learner at {asking.url} obeys whoever has its key, and that cannot be read: {trouble}; "
            f"{word} as the learner's user with its publisher.directory, or have monitor.control: token"
        )
    said = answer.body.decode(errors="replace").strip()
    if answer.status != HTTPStatus.ACCEPTED:
        raise StreamlearnError(f"the learner at {asking.url} does not {word}: {said or answer.status}")
    return said


def _known_by(config: Config) -> tuple[str, str]:
    """Return by what the learner knows who may ask it, and why that cannot be had: one of them is empty."""
    monitor = config.monitor
    if monitor.control == "off":
        return "", ""
    if monitor.control_token:
        token = monitor.control_token.get_secret_value()
        if not token.isprintable():
            raise ConfigurationError("monitor.control_token holds a character that no header can carry")
        return token, ""
    key = ControlKey(config.publisher.directory)
    try:
        return key.read(), ""
    except OSError as error:
        return "", f"{key.path}: {error.strerror}"
    except StateError as error:
        return "", str(error)
