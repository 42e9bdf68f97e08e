"""The temporary directory of an unfinished fine-tuning: checkpoints, and the best pass so far.

With it a fine-tuning that was killed continues with the same bits when the same command is run again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any, Self

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.state import State
from streamlearn.storage.files import make_directory, open_private

KEPT = 2
LOCK = "lock"


def unfinished_of(output: Path) -> Path:
    """Return the temporary directory for `output`."""
    return output.with_name(f"{output.name}.unfinished")


class Unfinished:
    """The directory ``OUTPUT.unfinished``, locked by this process while the context lasts.

    Parameters
    ----------
    output
        The directory of the finished model.
    given
        Everything that decides the result. An existing directory must have been begun with the same.

    Raises
    ------
    StateError
        If another process holds it, or it cannot be written.

    """

    def __init__(self, output: Path, given: dict[str, Any]) -> None:
        self.directory = unfinished_of(output)
        self._given = given
        try:
            make_directory(self.directory, private=True)
            self._lock = open_private(self.directory / LOCK)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StateError(f"another process is fine-tuning into {output}") from None
        except OSError as error:
            raise StateError(f"{self.directory} cannot be written: {error.strerror}") from None
        self._checkpoints = CheckpointStore(self.directory / "checkpoints", keep=KEPT)
        self._best = CheckpointStore(self.directory / "best", keep=KEPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)  # releases the lock

    def write(self, step: int, epochs: int, state: State) -> None:
        """Save `state`, after `step` and `epochs` passes, to continue from."""
        self._checkpoints.write(step, epochs, {**state, "given": self._given})

    def write_best(self, step: int, epochs: int, state: State) -> None:
        """Save `state` as the best after `epochs` passes."""
        self._best.write(step, epochs, state)

    def newest(self) -> State | None:
        """Return the last saved state, or None; damaged ones are skipped.

        Raises
        ------
        ConfigurationError
            If it was begun with other data or settings.

        """
        for _, state in self._checkpoints.newest():
            if isinstance(state, StateError):
                continue
            if state["given"] != self._given:
                differs = next(name for name in self._given if state["given"].get(name) != self._given[name])
                raise ConfigurationError(
                    f"{self.directory} was begun with other {differs}; use those again, name another --output, "
                    "or remove it to start over"
                )
            return state
        return None

    def best(self, epochs: int) -> State:
        """Return the state saved as the best after `epochs` passes; StateError if it is damaged."""
        names = [name for name in self._best.names() if int(name.partition("-")[2]) == epochs]
        if not names:
            raise StateError(f"{self._best.directory} does not hold the best epoch any more; remove {self.directory}")
        return self._best.read(names[-1])

    def remove(self) -> None:
        """Remove it: the fine-tuning is finished."""
        shutil.rmtree(self.directory, ignore_errors=True)
