"""The fence: only one learner at a time can change the state directory, even if another believes that it is active.

Kafka's group says which member is active, but a learner that was frozen or cut off may not know that it no longer is.
So the active one first claims the directory: it writes its name and an epoch, one more than the last, into
``fence.json``. Every later change of what others read (a rename into place, moving ``latest``, a removal) takes a lock
on the directory and checks that file first. A learner that finds another name there has been replaced. This is the
fencing token of M. Kleppmann, "How to do distributed locking" (2016), checked at the storage; ``flock`` makes check and
change atomic.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streamlearn.errors import FencedError, StateError
from streamlearn.storage.files import open_private, read_bytes
from streamlearn.storage.store import replace_file
from streamlearn.terminal import escaped

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.05
CHANGE_SECONDS = 10.0  # no change takes this long, unless its process was frozen
CLAIM_BYTES = 2**16
LAST_EPOCH = 99_999_999  # the highest that fits into the name of a journal segment


class Claim(msgspec.Struct, frozen=True):
    """Which learner may change the directory, and what its state was learnt from."""

    epoch: int
    owner: str
    source: str


def source_of(group: str, topic: str) -> str:
    """Return the source of a state directory as its claim spells it."""
    return f"group {group} of topic {topic}"


class Fence:
    """The claim of one learner on a state directory.

    Parameters
    ----------
    directory
        The directory; created with the first claim.
    source
        What the state is learnt from: a learner of another group or topic is refused.

    Attributes
    ----------
    lost
        Whether a change has found another learner's claim since ours.

    """

    def __init__(self, directory: Path, *, source: str) -> None:
        self.directory, self._source = directory, source
        self._owner = f"{escaped(platform.node())}/{os.getpid()}/{secrets.token_hex(4)}"
        self._claim: Claim | None = None
        self.lost = False

    def look(self) -> None:
        """Check, without changing anything, that the directory does not belong to another group or topic.

        Raises
        ------
        StateError
            If it is, or its claim is damaged.
        OSError
            If it cannot be read.

        """
        self._read()

    def check(self) -> None:
        """Check that the directory can be used; one of another group or topic is not changed.

        Raises
        ------
        StateError
            If it cannot be written, or its state belongs to another group or topic.

        """
        try:
            self._read()
            self.directory.mkdir(parents=True, exist_ok=True)
            os.close(open_private(self.directory / "lock"))
        except OSError as error:
            raise StateError(f"publisher.directory {self.directory} cannot be written: {error.strerror}") from None

    def claim(self, above: int, *, waiting: Callable[[], bool] = lambda: True) -> int:
        """Claim the directory and return the new epoch: higher than any before and than `above`.

        If another learner is in the middle of a change, wait for it as long as `waiting` returns true.

        Raises
        ------
        StateError
            If its state belongs to another group or topic, or no epoch is left.
        OSError
            If the disk refuses, or `waiting` ended it.

        """
        self.lost = False
        with self._locked(waiting):
            if not waiting():
                raise TimeoutError(errno.ETIMEDOUT, f"the claim on {self.directory} comes too late")
            last = self._read()
            claim = Claim(1 + max(above, last.epoch if last else 0), self._owner, self._source)
            if claim.epoch > LAST_EPOCH:
                raise StateError(
                    f"{self.directory} has no epoch after {LAST_EPOCH}; stop all learners and remove fence.json and "
                    "the journal segments of that epoch"
                )
            self._write(claim)
            self._claim = claim
        return claim.epoch

    @property
    def held(self) -> bool:
        """Whether we hold the claim on the directory; True if it cannot be read, since then nobody can claim it."""
        try:
            return self._claim is not None and self._read() in (None, self._claim)
        except (OSError, StateError):
            return self._claim is not None

    @contextmanager
    def change(self) -> Iterator[None]:
        """A context in which no other process can change or claim the directory, if the claim is still ours.

        Raises
        ------
        FencedError
            If it is not.
        OSError
            If the disk refuses, or another learner keeps the directory locked: one that was frozen in a change.

        """
        deadline = time.monotonic() + CHANGE_SECONDS
        with self._locked(lambda: time.monotonic() < deadline):
            found = self._read()
            if self._claim is None or found not in (None, self._claim):
                self.lost = True
                raise FencedError(f"another learner ({found.owner if found else 'none'}) has claimed {self.directory}")
            if found is None:  # the directory had vanished and was re-created
                self._write(self._claim)
            yield

    @contextmanager
    def _locked(self, waiting: Callable[[], bool]) -> Iterator[None]:
        """Hold the lock; TimeoutError if another process still holds it when `waiting` ends."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_private(self.directory / "lock"), "rb") as file:
            said = False
            while not _lock(file.fileno()):
                if not said:
                    log.warning("waiting: another learner is changing %s", self.directory)
                    said = True
                if not waiting():
                    raise TimeoutError(errno.ETIMEDOUT, f"another learner keeps {self.directory} locked")
                time.sleep(RETRY_SECONDS)
            yield

    def _read(self) -> Claim | None:
        path = self.directory / "fence.json"
        try:
            content = read_bytes(path, limit=CLAIM_BYTES)
        except FileNotFoundError:
            return None
        try:
            claim = msgspec.json.decode(content, type=Claim)
            if not 0 <= claim.epoch <= LAST_EPOCH:
                raise ValueError
        except (ValueError, RecursionError, msgspec.MsgspecError):
            raise StateError(f"{path} is damaged; stop all learners and remove it") from None
        if claim.source != self._source:
            raise StateError(
                f"{self.directory} holds the state of {claim.source}, and this learner is of {self._source}; "
                "give each group a publisher.directory of its own"
            )
        return claim

    def _write(self, claim: Claim) -> None:
        replace_file(self.directory / "fence.json", msgspec.json.format(msgspec.json.encode(claim)))


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
