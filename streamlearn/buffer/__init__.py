"""The replay buffer: bounded replay policies, one per file."""

from __future__ import annotations

from streamlearn.buffer.base import ReplayBuffer
from streamlearn.buffer.class_balanced import ClassBalancedReservoir
from streamlearn.buffer.recent import RecentWindow
from streamlearn.buffer.reservoir import Reservoir
from streamlearn.config import Buffer

POLICIES: dict[str, type[ReplayBuffer]] = {
    kind.policy: kind for kind in (Reservoir, ClassBalancedReservoir, RecentWindow)
}

__all__ = ["POLICIES", "ClassBalancedReservoir", "RecentWindow", "ReplayBuffer", "Reservoir", "make_buffer"]


def make_buffer(config: Buffer, *, seed: int) -> ReplayBuffer:
    """Return the buffer that `config` describes, its draws seeded with `seed`."""
    return POLICIES[config.policy](records=config.records, bytes=config.bytes, seed=seed)
