"""Opens files in the state directory, where anything may be in a file's place.

Operators, backups and accidents change the directory, too. So no symbolic link is followed, opening never blocks, and
type and size are checked before a byte is read: a link, a directory, a FIFO, a socket, a device or a file that is too
large is an error that names it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from streamlearn.errors import StateError

log = logging.getLogger(__name__)

CAREFUL = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC  # to open entries below, not to list
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFREG: "a file",
}


def open_regular(path: Path, *, limit: int | None = None, below: Path | None = None) -> BinaryIO:
    """Open the regular file `path` to read it.

    Parameters
    ----------
    path
        What to open.
    limit
        The most bytes that it may have; None for no limit.
    below
        A directory above `path`. No component of `path` after it may be a symbolic link; by default the parent
        directory of `path`.

    Raises
    ------
    StateError
        If it is not a regular file, or larger than `limit`.
    OSError
        If it is missing, or the disk refuses.

    """
    with _parent(path, below or path.parent) as (directory, name):
        _expect(stat.S_IFREG, os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode, path)
        descriptor = os.open(name, os.O_RDONLY | CAREFUL, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        _expect(stat.S_IFREG, found.st_mode, path)
        if limit is not None and found.st_size > limit:
            raise StateError(f"{path} has {found.st_size} bytes, and may have {limit}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, *, limit: int, below: Path | None = None) -> bytes:
    """Return the content of the regular file `path`; the errors are those of :func:`open_regular`."""
    with open_regular(path, limit=limit, below=below) as file:
        return file.read(limit)


def open_private(path: Path) -> int:
    """Open the regular file `path` to read and write, creating it for its owner only if it is missing.

    Returns
    -------
    int
        Its descriptor; its content is not changed.

    Raises
    ------
    StateError
        If something else is there.
    OSError
        If the disk refuses.

    """
    refuse_other_than_file(path)  # before it is opened: opening a device may have effects
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | CAREFUL, 0o600)
    try:
        _expect(stat.S_IFREG, os.fstat(descriptor).st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def names_in(directory: Path) -> list[str]:
    """Return the sorted names in `directory`, which may be a link to one; empty if it is missing.

    Raises
    ------
    OSError
        If it cannot be listed, which does not mean that it is empty.

    """
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - Path.iterdir does the same, less plainly
    except FileNotFoundError:
        return []


def refuse_other_than_directory(path: Path) -> None:
    """Raise StateError if `path` is neither missing nor a directory: nothing is changed through a link."""
    with suppress(FileNotFoundError):
        _expect(stat.S_IFDIR, path.lstat().st_mode, path)


def refuse_other_than_file(path: Path) -> None:
    """Raise StateError if `path` is neither missing nor a regular file."""
    with suppress(FileNotFoundError):
        _expect(stat.S_IFREG, path.lstat().st_mode, path)


def make_directory(directory: Path, *, private: bool) -> None:
    """Create `directory` if it is missing; remove other users' permissions if it is `private`.

    Raises
    ------
    StateError
        If something else is there.
    OSError
        If the disk refuses.

    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700 if private else 0o777)
    except FileExistsError:
        mode = directory.lstat().st_mode
        _expect(stat.S_IFDIR, mode, directory)
        if private and mode & 0o077:  # left so by an earlier version
            _close_to_others(directory)


def _close_to_others(directory: Path) -> None:
    try:
        directory.chmod(0o700)
    except PermissionError:
        if directory not in _open_to_others:
            _open_to_others.add(directory)
            log.warning("%s holds texts and is of another user: whom its mode lets in cannot be changed", directory)


_open_to_others: set[Path] = set()


@contextmanager
def _parent(path: Path, below: Path) -> Iterator[tuple[int, str]]:
    """Yield a descriptor of the parent directory of `path`, and the name of `path` in it."""
    *parts, name = path.relative_to(below).parts
    descriptor = os.open(below, SEARCH)
    try:
        for part in parts:
            below = below / part
            _expect(stat.S_IFDIR, os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode, below)
            inner = os.open(part, SEARCH | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor, name
    finally:
        os.close(descriptor)


def _expect(wanted: int, mode: int, path: Path) -> None:
    kind = stat.S_IFMT(mode)
    if kind != wanted:
        raise StateError(f"{path} is {KINDS.get(kind, 'a device')} where {KINDS[wanted]} is expected; move it away")


def is_shortage(error: OSError) -> bool:
    """Whether `error` is due to a shortage of resources, and not to the file."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
