"""What publishing asks of whoever keeps the checkpoints."""

from __future__ import annotations

from typing import Protocol

from streamlearn.state import State


class Keeping(Protocol):
    """Keeps the learner's state."""

    @property
    def written(self) -> int:
        """The step of the last checkpoint."""
        ...

    def begin(self, step: int) -> None:
        """Go on from the checkpoint of `step`."""
        ...

    def rotate(self, step: int) -> None:
        """Prepare for the checkpoint of `step`, on the learning thread."""
        ...

    def write(self, step: int, version: int, state: State, history: bytes = b"") -> None:
        """Write the checkpoint of `step`, and beside the state the `history` that the page shows.

        OSError or StateError is raised where it fails, FencedError where we may not.
        """
        ...

    def missed(self, error: Exception) -> None:
        """Take note of why the checkpoint that was due is not there."""
        ...
