"""The section ``buffer``: what is remembered for replay."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streamlearn.config.bounds import Bytes, Section, Unit


class Buffer(Section):
    """What is remembered for replay."""

    policy: Literal["reservoir", "class_balanced", "recent"] = "reservoir"
    """Which past events are kept: ``reservoir`` all with the same chance, ``class_balanced`` as many of each label,
    ``recent`` the newest. The first two forget less, the last follows faster; the second suits rare labels."""
    records: Annotated[int, Unit("events")] = Field(default=10_000, ge=1, le=10**8)
    """How many events are kept at most. More remembers further back; checkpoints grow with it."""
    bytes: Bytes = 256 * 2**20
    """How much memory they may take, including the frozen layers' outputs for their texts. If it is too little, those
    are computed again, or fewer events are kept."""
