"""Inspects a state directory before anything is started, without changing anything in it."""

from __future__ import annotations

import os
from pathlib import Path

from streamlearn.checkpointing.checkpoints import CheckpointStore, step_of
from streamlearn.checkpointing.fence import Fence
from streamlearn.errors import StateError
from streamlearn.storage.files import refuse_other_than_directory, refuse_other_than_file

ROOMS = ("checkpoints", "journal", "seats", "snapshots")


def refuse_odd_rooms(directory: Path) -> None:
    """Raise StateError if something else is in the place of one of the state's directories."""
    for room in ROOMS:
        refuse_other_than_directory(directory / room)


def inspect(directory: Path, *, source: str) -> str:
    """Return what a learner of `source` would find in `directory`.

    Raises
    ------
    StateError
        If it could not use the directory: it belongs to another group or topic, something else is in the place of a
        file, this user may not change it, or it has no intact checkpoint.

    """
    try:
        Fence(directory, source=source).look()
        refuse_other_than_file(directory / "lock")
        refuse_odd_rooms(directory)
        for path in (directory, *(directory / room for room in ROOMS)):
            if path.exists() and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise StateError(f"{path} cannot be read and written by this user")
        return _newest(CheckpointStore(directory / "checkpoints", keep=1))
    except OSError as error:
        raise StateError(f"publisher.directory {directory} cannot be read: {error}") from None


def _newest(checkpoints: CheckpointStore) -> str:
    refused: list[str] = []
    for name in reversed(checkpoints.names()):
        try:
            checkpoints.verify(name)
        except StateError as error:
            refused.append(str(error))
            continue
        found = f"its newest whole checkpoint is of step {step_of(name)}"
        return f"{found}; of newer ones, {refused[0]}" if refused else found
    if refused:
        raise StateError(f"none of the checkpoints in {checkpoints.directory} can be used: {refused[0]}")
    return "it holds no checkpoint yet"
