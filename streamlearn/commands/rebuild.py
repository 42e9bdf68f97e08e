"""Rebuilds a published snapshot from an older checkpoint and the Kafka log, and compares every bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor

from streamlearn.commands.retracing import Retracing
from streamlearn.config import Config, digest
from streamlearn.errors import ConfigurationError
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.storage.layout import EXPERTS, WEIGHTS
from streamlearn.storage.states import pack, tensors_of, unpack


@dataclass(frozen=True)
class Rebuilt:
    """The result of rebuilding a snapshot; ``difference`` is None if every bit is the same, including the mixture's.

    ``tensors`` is how many were compared.
    """

    version: int
    from_step: int
    step: int
    events: int
    tensors: int
    difference: str | None


def rebuild(config: Config, version: str) -> Rebuilt:
    """Rebuild the snapshot called `version` from the steps and settings in the journal.

    `config` says where the journal and the records are. The guarantee holds on one machine and one type of device, with
    the same number of threads.

    Raises
    ------
    ConfigurationError
        If the snapshot was made with another configuration than the recorded one.
    StateError
        If there is no such snapshot, or no checkpoint and journal from which it can be reached.
    BrokerError
        If Kafka cannot be reached or no longer has all of the events.

    """
    store = SnapshotStore(config.publisher.directory / "snapshots")
    number = store.resolve(version)
    manifest = store.verify(number)
    retracing = Retracing(config)
    stretches = retracing.load_before(manifest["step"], strictly=True)
    if not stretches or manifest.get("config_digest") != digest(stretches[-1].configuration):
        raise ConfigurationError(f"snapshot {number} was made under another configuration than the journal records")
    from_step = stretches[0].decisions[0].step - 1
    events = sum(len(report.learnt) for report in retracing.take(stretches))
    learner, path = retracing.learner, store.path(number)
    with learner.as_published(learner.state()) as export:
        pass
    published, made = load_file(path / WEIGHTS), dict(export.weights)
    mixed = EXPERTS in manifest["files"]  # earlier versions published only the transformer
    if mixed:
        published |= tensors_of(unpack(path / EXPERTS))
        made |= tensors_of(export.mixture)
    difference = first_difference(published, made)
    if mixed and not difference and (path / EXPERTS).read_bytes() != pack(export.mixture):
        difference = f"{EXPERTS} differs in what is no tensor"
    return Rebuilt(number, from_step, learner.step, events, tensors=len(published), difference=difference)


def first_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """Return a sentence about the first tensor, by name, whose bits differ, or None if all are the same."""
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            return f"{name} is in only one of them"
        left, right = one[name], other[name]
        if left.shape != right.shape or left.dtype != right.dtype:
            return f"{name} is {left.dtype} of shape {tuple(left.shape)}, rebuilt {right.dtype} of {tuple(right.shape)}"
        different = int((_bytes(left) != _bytes(right)).any(-1).sum())
        if different:
            return f"{name} differs in {different} of its {left.numel()} values"
    return None


def _bytes(tensor: Tensor) -> Tensor:
    """Return the bytes of each value, of shape (values, bytes)."""
    return tensor.contiguous().view(-1, 1).view(torch.uint8)
