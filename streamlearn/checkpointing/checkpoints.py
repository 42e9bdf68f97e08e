"""Checkpoints: writes the learner's complete state to a directory, and reads it back."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from safetensors import SafetensorError

from streamlearn.checkpointing.thinning import staying
from streamlearn.config import Keep
from streamlearn.errors import StateError
from streamlearn.state import State
from streamlearn.storage.files import is_shortage, names_in, read_bytes, refuse_other_than_directory
from streamlearn.storage.states import EVENTS, STATE, TENSORS, read_state, write_state
from streamlearn.storage.store import (
    TEMPORARY,
    Change,
    Store,
    discard,
    read_manifest,
    verify_directory,
    write_directory,
)

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
HISTORY, MOST_HISTORY = "history.json", 2**26  # bytes
FORMAT = 1
NAME = re.compile(r"[0-9]{12}-[0-9]{8}")
DAMAGED = ".damaged"


class CheckpointStore(Store):
    """The checkpoints of one learner, named by its step and the version requested last.

    Parameters
    ----------
    directory, change
        As in :class:`~streamlearn.storage.store.Store`.
    keep
        Which checkpoints to keep; a plain number keeps that many of the newest.
    clock
        Seconds since 1970, used to tell hours and days apart.

    """

    def __init__(
        self, directory: Path, *, keep: Keep | int, change: Change = nullcontext, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(directory, change=change)
        self._policy = keep if isinstance(keep, Keep) else Keep.model_construct(newest=keep, hourly=0, daily=0)
        self._clock = clock

    def names(self) -> list[str]:
        """Return the names of the checkpoints, oldest first.

        Raises
        ------
        StateError
            If their path is not a directory.
        OSError
            If it cannot be listed.

        """
        return [name for name in names_in(self.directory) if NAME.fullmatch(name)]

    def oldest(self, newest: str | None = None) -> int:
        """Return the step of the oldest checkpoint kept, up to the one called `newest`; 0 if there is none."""
        names = [name for name in self.names() if newest is None or name <= newest]
        return step_of(min(self._staying(names))) if names else 0

    def made(self, name: str) -> float:
        """Return when the checkpoint called `name` was made, in seconds since 1970, by its manifest if possible."""
        path = self.directory / name
        try:
            return float(read_manifest(path, MANIFEST)["made"])
        except (StateError, KeyError, TypeError, ValueError):
            return path.lstat().st_mtime

    def _staying(self, names: Sequence[str]) -> set[str]:
        if not self._policy.hourly and not self._policy.daily:
            return set(names[-self._policy.newest :])
        return staying({name: self.made(name) for name in names}, self._policy)

    def write(self, step: int, version: int, state: State, history: bytes = b"") -> Path:
        """Write `state` as the checkpoint of `step` and `version`, unless it exists, then remove old ones.

        The `history`, if any, is stored beside it; it is only shown and affects nothing.

        Raises
        ------
        NotFiniteError
            If a tensor holds a value that is not finite: nothing could be learnt from such a checkpoint.
        OSError
            If the disk refuses.
        StateError
            If the path holds something else, or the numbers do not fit into the name.

        """
        path = self.directory / f"{step:012d}-{version:08d}"
        if not NAME.fullmatch(path.name):
            raise StateError(f"the name of a checkpoint cannot hold step {step} and version {version}")
        if not self._is_whole(path):
            manifest = {"format": FORMAT, "step": step, "made": self._clock()}

            def fill(into: Path) -> None:
                write_state(into, state)
                if history:
                    (into / HISTORY).write_bytes(history)

            write_directory(path, MANIFEST, manifest, fill, private=True, change=self._change)
        with self._change():
            refuse_other_than_directory(self.directory)
            earlier = [name for name in self.names() if name <= path.name]  # later names are ignored
            stays = self._staying(earlier)
            for old in earlier:
                if old not in stays:
                    discard(self.directory / old)
        return path

    def _is_whole(self, path: Path) -> bool:
        """Whether there is an intact checkpoint at `path`; a damaged one is set aside."""
        if not os.path.lexists(path):
            return False
        try:
            self.verify(path.name)
        except StateError as error:
            log.error("checkpoint %s is rewritten: %s", path.name, error)
            self.set_aside(path.name)
            return False
        return True

    def read(self, name: str) -> State:
        """Return the state in the checkpoint called `name`.

        Raises
        ------
        StateError
            If it is damaged, naming the file, or of another format.
        OSError
            If this process lacks memory or file descriptors to read it.

        """
        self.verify(name)
        path = self.directory / name
        try:
            return read_state(path)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            if isinstance(error, OSError) and is_shortage(error):
                raise
            raise StateError(f"{path} cannot be read: {error}") from None

    def history(self, name: str) -> bytes:
        """Return the history in the checkpoint called `name`; empty if there is none, or it is damaged."""
        if not name:  # there is no checkpoint
            return b""
        path = self.directory / name
        try:
            digest = read_manifest(path, MANIFEST)["files"].get(HISTORY)
            if digest is None:  # written by a streamlearn that did not store one
                return b""
            history = read_bytes(path / HISTORY, limit=MOST_HISTORY)
            if hashlib.sha256(history).hexdigest() != digest:
                raise StateError(f"{path / HISTORY} is not what was written: its SHA-256 differs from the manifest's")
        except (OSError, StateError) as error:
            log.warning("the history in checkpoint %s is passed over: %s", name, error)
            return b""
        return history

    def verify(self, name: str) -> None:
        """Check every file of the state in the checkpoint called `name`, which the history is not part of.

        The errors are those of :meth:`read`.
        """
        path = self.directory / name
        manifest = verify_directory(path, MANIFEST, but=[HISTORY])
        if manifest.get("format") != FORMAT:
            raise StateError(f"{path} has format {manifest.get('format')}, and this streamlearn reads {FORMAT}")
        if manifest.get("step") != step_of(name):
            raise StateError(f"{path} is not what was written: it is of step {manifest.get('step')}")
        missing = {STATE, EVENTS, TENSORS} - manifest["files"].keys()
        if missing:
            raise StateError(f"{path / MANIFEST} does not list {min(missing)}")

    def newest(self) -> Iterator[tuple[str, State | StateError]]:
        """Yield each checkpoint's name and state, newest first; for a damaged one the error that says so."""
        for name in reversed(self.names()):
            try:
                yield name, self.read(name)
            except StateError as error:
                yield name, error

    def strangers(self) -> list[str]:
        """Return the names in the directory that are not checkpoints."""
        return [
            name
            for name in names_in(self.directory)
            if not NAME.fullmatch(name) and not name.startswith((".", TEMPORARY)) and DAMAGED not in name
        ]

    def set_aside(self, name: str) -> None:
        """Rename the damaged checkpoint called `name` to ``….damaged``, so that it can be inspected.

        If it cannot be renamed, that is logged, and it is refused again at the next start.
        """
        aside = self.directory / f"{name}{DAMAGED}"
        with self._change():
            discard(aside)
            if os.path.lexists(aside):
                aside = self.directory / f"{name}{DAMAGED}-{secrets.token_hex(4)}"
            try:
                (self.directory / name).rename(aside)
            except OSError as error:
                log.error("checkpoint %s could not be moved aside and stays where it is: %s", name, error.strerror)


def step_of(name: str) -> int:
    """Return the step of the checkpoint called `name`."""
    return int(name.partition("-")[0])
