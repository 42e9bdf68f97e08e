"""The status of a learner: reported by the running one or, if none answers, by what the last one left on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from streamlearn.checkpointing.checkpoints import CheckpointStore, step_of
from streamlearn.commands.asking import Asking, NoAnswerError
from streamlearn.config import Config
from streamlearn.errors import StateError, StreamlearnError
from streamlearn.monitor.history import read
from streamlearn.monitor.live import Live
from streamlearn.publisher.snapshots import SnapshotStore


@dataclass(frozen=True)
class Status:
    """The known status.

    Attributes
    ----------
    url
        The address that was requested.
    live
        The answer, as the page shows it; None if no learner is running.
    checkpoint
        The newest one on disk: ``step``, and when it was ``written``, in seconds since 1970; None if there is none.
    past
        The history in that checkpoint; None if a learner is running, or the checkpoint has none.
    snapshot
        The manifest of the newest snapshot on disk, or None.

    """

    url: str
    live: dict[str, Any] | None
    checkpoint: dict[str, Any] | None
    past: dict[str, Any] | None
    snapshot: dict[str, Any] | None


def status(config: Config) -> Status:
    """Return the status of the learner of `config`.

    Raises
    ------
    StreamlearnError
        If another program, or the learner of another group or topic, answers in its place.
    StateError
        If none answers and ``publisher.directory`` cannot be read, or holds nothing.

    """
    asking = Asking(config.monitor)
    try:
        answer = asking.ask("live.json")
    except NoAnswerError:  # what is on disk can still be shown
        answer = None
    live = None if answer is None else _live(answer.body if answer.status == HTTPStatus.OK else b"", config, asking.url)
    try:
        checkpoint, snapshot = _checkpoint(config), SnapshotStore(config.publisher.directory / "snapshots").newest()
        past = _past(config) if live is None and checkpoint else None
    except OSError as error:
        if live is None:
            raise StateError(f"publisher.directory {config.publisher.directory} cannot be read: {error}") from None
        checkpoint = past = snapshot = None  # on another machine, or of another user
    if live is None and checkpoint is None and snapshot is None:
        directory = config.publisher.directory
        raise StateError(
            f"no learner answers at {asking.url}, and publisher.directory {directory} holds nothing of one"
        )
    return Status(asking.url, live, checkpoint, past, snapshot)


def _live(body: bytes, config: Config, url: str) -> dict[str, Any]:
    try:
        live: dict[str, Any] = json.loads(body)
        found = live["topic"], live["group"], live["step"], live["counts"], live["state"]
    except (ValueError, LookupError, TypeError):
        raise StreamlearnError(f"what answers at {url} is not a streamlearn learner") from None
    if found[:2] != (config.kafka.topic, config.kafka.group):
        raise StreamlearnError(
            f"the learner at {url} is that of group {found[1]} of topic {found[0]}, and not of group "
            f"{config.kafka.group} of topic {config.kafka.topic}: see monitor.port"
        )
    return live


def _past(config: Config) -> dict[str, Any] | None:
    checkpoints = _checkpoints(config)
    try:
        history = read(checkpoints.history(max(checkpoints.names(), default="")))
    except ValueError:  # of another version
        return None
    if history is None:
        return None
    kafka, window = config.kafka, config.monitor.accuracy_window
    live = Live(topic=kafka.topic, group=kafka.group, labelled=config.labelled, window=window)
    live.recalled(history, None)
    return live.view()


def _checkpoints(config: Config) -> CheckpointStore:
    return CheckpointStore(config.publisher.directory / "checkpoints", keep=1)


def _checkpoint(config: Config) -> dict[str, Any] | None:
    checkpoints = _checkpoints(config)
    names = checkpoints.names()
    if not names:
        return None
    return {"step": step_of(names[-1]), "written": (checkpoints.directory / names[-1]).stat().st_mtime}
