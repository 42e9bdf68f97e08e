"""States as files: a tree is split into JSON and tensors, and joined again when read. Nothing is pickled.

A complete state takes three files: tensors go to ``tensors.safetensors``, events to ``events.json`` with their token
ids among the tensors, everything else to ``state.json``. One without events takes a single file, with the JSON in the
header of its tensors; the same state always gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from streamlearn.errors import NotFiniteError
from streamlearn.events import Event
from streamlearn.state import State, first_not_finite

STATE, EVENTS, TENSORS = "state.json", "events.json", "tensors.safetensors"
HEADER = "state"  # the header entry of a single file that holds its JSON


def write_state(directory: Path, state: State) -> None:
    """Write `state` into `directory`, as three files.

    Raises
    ------
    NotFiniteError
        If a tensor holds a value that is not finite: nothing could be learnt from such a state.
    OSError, SafetensorError
        If the disk refuses.

    """
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


def read_state(directory: Path) -> State:
    """Return the state that :func:`write_state` wrote into `directory`.

    Raises
    ------
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError
        If it cannot be read, or is not a state.

    """
    mapped = load_file(directory / TENSORS)
    tensors = {name: tensor.clone() for name, tensor in mapped.items()}  # else removed files would still fill the disk
    stripped = msgspec.json.decode((directory / EVENTS).read_bytes(), type=dict[str, list[Event]])
    events = {}
    for key, held in stripped.items():
        lengths = tensors.pop(f"{key}/lengths").tolist()
        tokens = tensors.pop(f"{key}/tokens").numpy()
        events[key] = list(_with_tokens(held, lengths, tokens))
    return _as_state(_join(json.loads((directory / STATE).read_text()), tensors, events), STATE)


def pack(state: State) -> bytes:
    """Return `state` as the content of a single file; ValueError if it contains events."""
    tensors: dict[str, Tensor] = {}
    events: dict[str, list[Event]] = {}
    tree = _split(state, (), tensors, events)
    if events:
        raise ValueError(f"{min(events)} holds events, and a single file has no place for them")
    return save(tensors, metadata={HEADER: json.dumps(tree)})


def unpack(file: Path) -> State:
    """Return the state that :func:`pack` turned into `file`; the errors are those of `read_state`."""
    with safe_open(file, framework="pt") as packed:
        header = packed.metadata() or {}
        tensors = {name: packed.get_tensor(name).clone() for name in packed.keys()}  # noqa: SIM118 - it is no dict
    return _as_state(_join(json.loads(header[HEADER]), tensors, {}), file.name)


def tensors_of(state: State) -> dict[str, Tensor]:
    """Return the tensors of `state` by their path."""
    tensors: dict[str, Tensor] = {}
    _split(state, (), tensors, {})
    return tensors


def _as_state(tree: Any, name: str) -> State:
    if not isinstance(tree, dict):
        raise TypeError(f"{name} holds no state")
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


def _join(node: Any, tensors: Mapping[str, Tensor], events: Mapping[str, list[Event]]) -> Any:
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
