"""The interface through which the publisher reports on checkpoints and snapshots."""

from __future__ import annotations

from typing import Protocol

from streamlearn.control import Kept

Accuracy = dict[str, float | None]
"""By hold-out split, None while it is empty; for a language model the bits per byte."""


class Progress(Protocol):
    """Receives what the publisher reports; implemented by the monitor."""

    def checkpointed(self, outcome: str, seconds: float, why: str = "") -> None:
        """Count a checkpoint that was ``written``, or ``failed`` and `why`."""
        ...

    def published(self, outcome: str, version: int, seconds: float, accuracy: Accuracy) -> None:
        """Count a snapshot that was ``published``, ``rejected`` or ``failed``, with its hold-out accuracy."""
        ...

    def settled(self, kept: Kept) -> None:
        """Report the final outcome of a copy to those who requested it."""
        ...
