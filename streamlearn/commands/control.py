"""Sends commands to a running learner, over its own port."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from streamlearn.commands.asking import Answer, Asking, NoAnswerError
from streamlearn.config import Config
from streamlearn.control import PUBLISH, Kept
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError
from streamlearn.storage.control_key import ControlKey

HEADER = "X-Streamlearn-Control"
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Told:
    """A learner's answer, and the outcome of the command: None if there was nothing to wait for."""

    answer: str
    kept: Kept | None


def tell(config: Config, word: str, *, timeout: float = 0.0, clock: Callable[[], float] = time.monotonic) -> Told:
    """Send the command `word` to the learner of `config`, and wait for its outcome.

    Parameters
    ----------
    config
        The whole configuration.
    word
        The command.
    timeout
        How many seconds to wait for a checkpoint or a publication; 0 does not wait.
    clock
        A monotonic clock in seconds.

    Raises
    ------
    StreamlearnError
        If no learner answers, it is a standby, or it refuses the caller; if the command fails, or takes too long.
    StateError
        If a learner answers, but its key file cannot be read.
    ConfigurationError
        If ``monitor`` does not say where the learner is.

    """
    asking = Asking(config.monitor)
    known, trouble = _known_by(config)
    headers = {HEADER: known.encode()} if known else {}
    try:
        answer = asking.ask(f"control/{word}", method="POST", headers=headers)
    except NoAnswerError as error:
        raise StreamlearnError(
            f"{error}; whether it is to {word} is not known: see its log, or 'streamlearn status'"
        ) from None
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
    if not (answer.location and timeout):
        return Told(said, None)
    kept = _awaited(asking, answer.location.lstrip("/"), headers, timeout, clock)
    if kept is None:
        raise StreamlearnError(
            f"the learner at {asking.url} was asked to {word}, and has not done so within {timeout:g} s; "
            "it is still to do so: see its log, or 'streamlearn status'"
        )
    return Told(_outcome(word, kept), kept)


def _awaited(
    asking: Asking, path: str, headers: Mapping[str, bytes], timeout: float, clock: Callable[[], float]
) -> Kept | None:
    """Ask for what stands at `path` until it is known; None where that is not so within `timeout` seconds.

    A learner that is busy may leave a question unanswered; it is asked again as long as it listens.
    """
    left, deadline = timeout, clock() + timeout
    while True:
        answer, listens = None, False
        try:
            answer = asking.ask(path, headers=headers, within=left)
        except NoAnswerError:
            listens = True
        kept = _told(answer, asking.url) if answer else None
        left = deadline - clock()
        if answer is None and not (listens and left > 0):
            raise StreamlearnError(
                f"the learner at {asking.url} no longer answers, and has not said what became of it; "
                "see its log, or 'streamlearn status'"
            )
        if kept is not None or left <= 0:
            return kept
        time.sleep(min(LOOK_SECONDS, left))


def _told(answer: Answer, url: str) -> Kept | None:
    """Return the outcome in `answer`, or None if it is not known yet."""
    if answer.status != HTTPStatus.OK:
        said = answer.body.decode(errors="replace").strip()
        raise StreamlearnError(f"the learner at {url} does not say what became of it: {said}")
    try:
        return msgspec.json.decode(answer.body, type=Kept | None)
    except msgspec.DecodeError:
        raise StreamlearnError(
            f"what answers at {url} does not say what became of it as a streamlearn learner does"
        ) from None


def _outcome(word: str, kept: Kept) -> str:
    """Return the outcome of the command; StreamlearnError if it failed."""
    checkpoint = f"the checkpoint of step {kept.step}"
    if kept.checkpoint:
        raise StreamlearnError(f"{checkpoint} is not written: {kept.checkpoint}")
    if word != PUBLISH:
        return f"{checkpoint} is written"
    if kept.version is None:
        raise StreamlearnError(f"nothing is published, since no event has been learnt yet; {checkpoint} is written")
    if kept.snapshot:
        raise StreamlearnError(f"snapshot {kept.version} is not published: {kept.snapshot}; {checkpoint} is written")
    return f"snapshot {kept.version} of step {kept.step} is published"


def _known_by(config: Config) -> tuple[str, str]:
    """Return the credential for the learner, and why it could not be read: one of them is empty."""
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
