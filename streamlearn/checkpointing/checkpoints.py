"""Checkpoints: the learner's complete state in one directory, and the way back from it.

The tree of the state is split: tensors go to ``tensors.safetensors``, events to ``events.json`` with their token
ids among the tensors, everything else to ``state.json``. Nothing is pickled.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from streamlearn.errors import NotFiniteError, StateError
from streamlearn.events import Event
from streamlearn.state import State, first_not_finite
from streamlearn.storage.files import is_shortage, names_in, refuse_other_than_directory
from streamlearn.storage.store import TEMPORARY, Store, discard, verify_directory, write_directory

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 1
NAME = re.compile(r"[0-9]{12}-[0-9]{8}")
DAMAGED = ".damaged"
STATE, EVENTS, TENSORS = "state.json", "events.json", "tensors.safetensors"


class CheckpointStore(Store):
    """The checkpoints of one learner, named by its step and by the version that was asked for last."""

    def names(self) -> list[str]:
        """Return the names of the checkpoints, oldest first.

        Raises
        ------
        StateError
            If their directory is none.
        OSError
            If it cannot be listed.

        """
        return [name for name in names_in(self.directory) if NAME.fullmatch(name)]

    def oldest(self, newest: str | None = None) -> int:
        """Return the step of the oldest of those that are kept up to the checkpoint `newest`, 0 where there is none."""
        names = [name for name in self.names() if newest is None or name <= newest][-self._keep :]
        return step_of(names[0]) if names else 0

    def write(self, step: int, version: int, state: State) -> Path:
        """Write `state` as the checkpoint of `step` and `version`, unless it is there, then let the oldest go.

        Raises
        ------
        NotFiniteError
            If a tensor holds a value that is not finite: those who continue from it could learn nothing.
        OSError
            If the disk refuses.
        StateError
            If something else lies in the way, or the name cannot hold the numbers.

        """
        path = self.directory / f"{step:012d}-{version:08d}"
        if not NAME.fullmatch(path.name):
            raise StateError(f"the name of a checkpoint cannot hold step {step} and version {version}")
        if not self._is_whole(path):
            manifest = {"format": FORMAT, "step": step}
            write_directory(
                path, MANIFEST, manifest, lambda into: _save(into, state), private=True, change=self._change
            )
        with self._change():
            refuse_other_than_directory(self.directory)
            earlier = [name for name in self.names() if name <= path.name]  # what claims to come later does not count
            for old in earlier[: -self._keep]:
                discard(self.directory / old)
        return path

    def _is_whole(self, path: Path) -> bool:
        """Whether the checkpoint at `path` is there; one that is damaged is set aside."""
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
            If this process is short of what reading takes.

        """
        self.verify(name)
        path = self.directory / name
        try:
            return _load(path)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            if isinstance(error, OSError) and is_shortage(error):
                raise
            raise StateError(f"{path} cannot be read: {error}") from None

    def verify(self, name: str) -> None:
        """Check every file of the checkpoint called `name`; the errors are those of :meth:`read`."""
        path = self.directory / name
        manifest = verify_directory(path, MANIFEST)
        if manifest.get("format") != FORMAT:
            raise StateError(f"{path} has format {manifest.get('format')}, and this streamlearn reads {FORMAT}")
        if manifest.get("step") != step_of(name):
            raise StateError(f"{path} is not what was written: it is of step {manifest.get('step')}")
        missing = {STATE, EVENTS, TENSORS} - manifest["files"].keys()
        if missing:
            raise StateError(f"{path / MANIFEST} does not list {min(missing)}")

    def newest(self) -> Iterator[tuple[str, State | StateError]]:
        """Yield each checkpoint's name and state, newest first; a damaged one as the error that names it."""
        for name in reversed(self.names()):
            try:
                yield name, self.read(name)
            except StateError as error:
                yield name, error

    def strangers(self) -> list[str]:
        """Return the names of what lies among the checkpoints and is none, however it came there."""
        return [
            name
            for name in names_in(self.directory)
            if not NAME.fullmatch(name) and not name.startswith((".", TEMPORARY)) and DAMAGED not in name
        ]

    def set_aside(self, name: str) -> None:
        """Take the damaged checkpoint called `name` out of the way; it stays for a look as ``….damaged``.

        Where it cannot be moved it is refused again at the next start, which is said.
        """
        aside = self.directory / f"{name}{DAMAGED}"
        with self._change():
            discard(aside)
            if os.path.lexists(aside):
                aside = self.directory / f"{name}{DAMAGED}-{secrets.token_hex(4)}"
            try:
                (self.directory / name).rename(aside)
            except OSError as error:
                log.error("checkpoint %s cannot be set aside, and stays: %s", name, error.strerror)


def step_of(name: str) -> int:
    """Return the step of the checkpoint called `name`."""
    return int(name.partition("-")[0])


def _save(directory: Path, state: State) -> None:
    tensors: dict[str, Tensor] = {}
    events: dict[str, list[Event]] = {}
    tree = _split(state, (), tensors, events)
    bad = first_not_finite(tensors)
    if bad is not None:
        raise NotFiniteError(f"{bad.replace('/', '.')} holds a value that is not finite")
    (directory / STATE).write_text(json.dumps(tree))
    (directory / EVENTS).write_bytes(msgspec.json.encode({k: _stripped(v) for k, v in events.items()}))
    for key, held in events.items():
        encoded = [event.tokens for event in held if event.tokens is not None]
        lengths = [-1 if event.tokens is None else len(event.tokens) for event in held]
        tensors[f"{key}/lengths"] = torch.tensor(lengths, dtype=torch.int32)
        tensors[f"{key}/tokens"] = torch.from_numpy(np.concatenate([np.empty(0, np.int32), *encoded]))
    save_file(tensors, directory / TENSORS)


def _load(directory: Path) -> State:
    mapped = load_file(directory / TENSORS)
    tensors = {name: tensor.clone() for name, tensor in mapped.items()}  # or a removed file would still fill the disk
    stripped = msgspec.json.decode((directory / EVENTS).read_bytes(), type=dict[str, list[Event]])
    events = {}
    for key, held in stripped.items():
        lengths = tensors.pop(f"{key}/lengths").tolist()
        tokens = tensors.pop(f"{key}/tokens").numpy()
        events[key] = list(_with_tokens(held, lengths, tokens))
    tree = _join(json.loads((directory / STATE).read_text()), tensors, events)
    if not isinstance(tree, dict):
        raise TypeError(f"{STATE} holds no state")
    return tree


def _split(node: Any, path: tuple[str, ...], tensors: dict[str, Tensor], events: dict[str, list[Event]]) -> Any:
    """Return `node` with its tensors and lists of events moved out and named by their path."""
    key = "/".join(path)
    if isinstance(node, Tensor):
        tensors[key] = node.contiguous()
        return {"$tensor": key}
    if isinstance(node, dict):
        return {name: _split(child, (*path, name), tensors, events) for name, child in node.items()}
    if isinstance(node, list | tuple):
        if node and isinstance(node[0], Event):
            events[key] = list(node)
            return {"$events": key}
        return [_split(child, (*path, str(index)), tensors, events) for index, child in enumerate(node)]
    return node


def _join(node: Any, tensors: dict[str, Tensor], events: dict[str, list[Event]]) -> Any:
    """Undo :func:`_split`."""
    if isinstance(node, list):
        return [_join(child, tensors, events) for child in node]
    if not isinstance(node, dict):
        return node
    if "$tensor" in node:
        return tensors[node["$tensor"]]
    if "$events" in node:
        return events[node["$events"]]
    return {name: _join(child, tensors, events) for name, child in node.items()}


def _stripped(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, tokens=None) for event in events]


def _with_tokens(events: list[Event], lengths: list[int], tokens: Any) -> Iterator[Event]:
    start = 0
    for event, length in zip(events, lengths, strict=True):
        if length < 0:
            yield event
        else:
            yield msgspec.structs.replace(event, tokens=tokens[start : start + length])
            start += length
