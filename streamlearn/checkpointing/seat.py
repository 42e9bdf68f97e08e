"""The seat: which member of the group this process was, so that the next start can remove it if it was killed.

A member that was killed stays in the group until its session times out, and until then no other member becomes active.
But an unlocked seat file shows that its process has ended, because the kernel releases the lock at that moment. So the
next learner to start on this host removes the dead member from the group, and takes over at once.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import platform
import re
from io import FileIO
from pathlib import Path

from streamlearn.errors import StateError
from streamlearn.storage.files import make_directory, names_in, open_private

log = logging.getLogger(__name__)

MEMBER_BYTES = 1024
SEAT = re.compile(r"-\d+$")


class Seat:
    """The first free seat of this host in a state directory, held until :meth:`leave`.

    Parameters
    ----------
    directory
        The directory of the seats; created if missing.

    Attributes
    ----------
    ghost
        The member id of a killed process that held this seat before, or None.

    Raises
    ------
    StateError
        If `directory` cannot be written.

    """

    def __init__(self, directory: Path) -> None:
        try:
            make_directory(directory, private=True)
            self._file, path = _first_free(directory)
            content = self._file.read(MEMBER_BYTES + 1)
        except OSError as error:
            raise StateError(f"{directory} cannot be written: {error.strerror}") from None
        self.ghost = content.decode(errors="replace") or None
        if self.ghost and (len(content) > MEMBER_BYTES or "\ufffd" in self.ghost or not self.ghost.isprintable()):
            log.warning("%s does not name a group member; treating it as empty", path)
            self.ghost = None

    def remember(self, member: str) -> None:
        """Store `member` as the id of this process; if the disk refuses, the next start takes some seconds longer."""
        try:
            self._file.seek(0)
            self._file.truncate(0)
            self._file.write(member.encode())
        except OSError as error:
            log.debug("could not record the group member: %s", error)

    def leave(self) -> None:
        """Release the seat, without a member id left in it."""
        self.remember("")
        self._file.close()


def sitting(directory: Path) -> tuple[bool, list[str]]:
    """Read the seats in `directory`, without changing them.

    Returns
    -------
    taken
        Whether a process holds one of them: a learner that is active, standing by or starting.
    ghosts
        The member ids of killed processes in the others.

    Raises
    ------
    OSError
        If they cannot be read.

    """
    taken, ghosts = False, []
    for name in filter(SEAT.search, names_in(directory)):
        try:
            file = FileIO(open_private(directory / name), "r+")
        except StateError:  # not a seat
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                taken = True
            else:
                ghosts.append(file.read(MEMBER_BYTES).decode(errors="replace"))
    return taken, [ghost for ghost in ghosts if ghost and ghost.isprintable()]


def _first_free(directory: Path) -> tuple[FileIO, Path]:
    """Return the first free seat of this host, locked; what is not a seat is logged and skipped."""
    for number in itertools.count():
        path = directory / f"{platform.node()}-{number}"
        try:
            file = FileIO(open_private(path), "r+")
        except StateError as error:
            log.warning("ignoring a seat: %s", error)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        if os.fstat(file.fileno()).st_nlink == 1:  # else it has a hard link, which writing would change, too
            return file, path
        file.close()
        log.warning("ignoring a seat: %s has another hard link", path)
    raise AssertionError  # unreachable: the numbers do not end
