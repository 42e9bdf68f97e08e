"""The seat: which member of the group this process was, so that the next start can send its ghost away.

A member that was killed stays in the group until its session times out, and until then the group lets nobody else
be active. But whoever finds the seat of a process free knows that this process has ended: the kernel drops its
lock at that moment. So the next learner to start here tells the group, and is let in at once.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import platform
from io import FileIO
from pathlib import Path

from streamlearn.errors import StateError

log = logging.getLogger(__name__)


class Seat:
    """The first free seat of this host in a state directory, held until :meth:`leave`.

    Parameters
    ----------
    directory
        Where the seats are; created where it is missing.

    Attributes
    ----------
    ghost
        The member of the group that sat here and was killed; None where there was none.

    Raises
    ------
    StateError
        If `directory` cannot be written.

    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for number in itertools.count():
                self._file = FileIO(directory / f"{platform.node()}-{number}", "a+")
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._file.close()
                else:
                    break
            self._file.seek(0)
            self.ghost = self._file.read().decode(errors="replace") or None
        except OSError as error:
            raise StateError(f"{directory} cannot be written: {error.strerror}") from None

    def remember(self, member: str) -> None:
        """Write down that this process is `member`; a disk that refuses costs the next start some seconds."""
        try:
            self._file.truncate(0)
            self._file.write(member.encode())
        except OSError as error:
            log.debug("the group member is not written down: %s", error)

    def leave(self) -> None:
        """Give the seat to whoever comes next, with no ghost left in it."""
        self.remember("")
        self._file.close()
