"""The seat: which member of the group this process was, so that the next start can send its ghost away.

A member that was killed stays in the group until its session times out, and until then the group lets nobody else
be active. But whoever finds the seat of a process free knows that this process has ended: the kernel drops its
lock at that moment. So the next learner to start here tells the group, and is let in at once.
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
        """Write down that this process is `member`; a disk that refuses costs the next start some seconds."""
        try:
            self._file.seek(0)
            self._file.truncate(0)
            self._file.write(member.encode())
        except OSError as error:
            log.debug("could not record the group member: %s", error)

    def leave(self) -> None:
        """Give the seat to whoever comes next, with no ghost left in it."""
        self.remember("")
        self._file.close()


def sitting(directory: Path) -> tuple[bool, list[str]]:
    """Look at the seats in `directory`, and leave them as they are.

    Returns
    -------
    taken
        Whether a process sits in one of them: a learner that is active, stands by or begins.
    ghosts
        The members of the group that sat in the others and were killed.

    Raises
    ------
    OSError
        If they cannot be looked at.

    """
    taken, ghosts = False, []
    for name in filter(SEAT.search, names_in(directory)):
        try:
            file = FileIO(open_private(directory / name), "r+")
        except StateError:  # no seat
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
    """Return the first seat of this host that nobody holds, locked; what is no seat is named and passed over."""
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
        if os.fstat(file.fileno()).st_nlink == 1:  # else it has a name elsewhere, where writing would change it too
            return file, path
        file.close()
        log.warning("ignoring a seat: %s has another hard link", path)
    raise AssertionError  # numbers do not end
