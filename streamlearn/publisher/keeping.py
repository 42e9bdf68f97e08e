"""The interface that the publisher needs of what writes the checkpoints."""

from __future__ import annotations

from typing import Protocol

from streamlearn.state import State


class Keeping(Protocol):
    """Stores the learner's state."""

    @property
    def written(self) -> int:
        """The step of the last checkpoint."""
        ...

    def begin(self, step: int) -> None:
        """Continue from the checkpoint of `step`."""
        ...

    def rotate(self, step: int) -> None:
        """Prepare for the checkpoint of `step`, on the learning thread."""
        ...

    def write(self, step: int, version: int, state: State, history: bytes = b"") -> None:
        """Write the checkpoint of `step`, with the `history` that the page shows.

        Raises OSError or StateError if that fails, FencedError if the claim is no longer ours.
        """
        ...

    def missed(self, error: Exception) -> None:
        """Remember why the checkpoint that was due failed."""
        ...
