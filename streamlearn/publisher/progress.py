"""What the publisher reports of its checkpoints and snapshots, and to whom."""

from __future__ import annotations

from typing import Protocol

from streamlearn.control import Kept

Accuracy = dict[str, float | None]
"""By hold-out split, None while it is empty; of a language model it is the bits per byte."""


class Progress(Protocol):
    """What the publisher reports; the monitor is told it."""

    def checkpointed(self, outcome: str, seconds: float, why: str = "") -> None:
        """Count a checkpoint that was ``written``, or ``failed`` and `why`."""
        ...

    def published(self, outcome: str, version: int, seconds: float, accuracy: Accuracy) -> None:
        """Count a snapshot that was ``published``, ``rejected`` or ``failed``, with its hold-out accuracy."""
        ...

    def settled(self, kept: Kept) -> None:
        """Tell whoever asked for it what became of a copy, once nothing more becomes of it."""
        ...
