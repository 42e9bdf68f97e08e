"""The key for controlling a learner without a token: whoever can read one file of its state may do so.

A request from this machine may have been forwarded by a local proxy for somebody elsewhere, and not every proxy says
so. Such a request does not have the key: 32 random bytes that the learner writes beside the seats, readable only by its
own user, and that the commands read there. Learners that share a state directory share it.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path

from streamlearn.errors import StateError
from streamlearn.storage.files import make_directory, read_bytes
from streamlearn.storage.store import replace_file

BYTES = 32
SHAPE = re.compile(rf"[0-9a-f]{{{2 * BYTES}}}", re.ASCII)


class ControlKey:
    """The key in a state directory.

    Parameters
    ----------
    directory
        The state directory.

    Attributes
    ----------
    path
        The file of the key.

    """

    def __init__(self, directory: Path) -> None:
        self._seats = directory / "seats"
        self.path = self._seats / "control.key"

    def make(self) -> None:
        """Create the key if it is missing; replace one that is invalid or that other users could have read.

        Raises
        ------
        StateError
            If something else is in its place.
        OSError
            If the disk refuses.

        """
        make_directory(self._seats, private=True)
        with suppress(FileNotFoundError):
            if self.path.lstat().st_mode & 0o077 == 0 and self._read():
                return
        replace_file(self.path, secrets.token_hex(BYTES).encode(), mode=0o600)

    def read(self) -> str:
        """Return the key.

        Raises
        ------
        StateError
            If the file does not contain a key.
        OSError
            If there is none, or this user may not read it.

        """
        key = self._read()
        if not key:
            raise StateError(f"{self.path} holds no key")
        return key

    def _read(self) -> str:
        found = SHAPE.fullmatch(read_bytes(self.path, limit=2**10).decode(errors="replace"))
        return found[0] if found else ""
