"""Directories that are complete or absent.

A directory is written beside its final name, every file is fsynced and listed with its SHA-256 in a manifest that is
written last, and only then is it renamed and its parent fsynced. A reader checks it against its manifest, so an
incomplete or corrupted one is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import msgspec
from safetensors import SafetensorError

from streamlearn.errors import StateError
from streamlearn.storage.files import (
    is_shortage,
    make_directory,
    names_in,
    open_regular,
    read_bytes,
    refuse_other_than_directory,
)

log = logging.getLogger(__name__)

TEMPORARY = ".tmp-"
MANIFEST_BYTES = 16 * 2**20  # it holds a position for each partition and a digest for each file
Change = Callable[[], AbstractContextManager[None]]
"""Creates the context in which files that others read may be changed, like :meth:`Fence.change`."""


class Store:
    """Directories of one kind, of which the newest are kept.

    Parameters
    ----------
    directory
        Their parent; created when the first is written.
    keep
        How many of the newest are kept.
    change
        The context in which they are changed.

    """

    def __init__(self, directory: Path, *, keep: int = 5, change: Change = nullcontext) -> None:
        self.directory = directory
        self._keep = keep
        self._change = change


def write_directory(
    final: Path,
    manifest_name: str,
    manifest: dict[str, Any],
    fill: Callable[[Path], None],
    *,
    private: bool = False,
    change: Change = nullcontext,
) -> None:
    """Create `final` with what `fill` writes into it and the manifest that lists it.

    Parameters
    ----------
    final
        The directory, which must not exist yet: what is published is never changed.
    manifest_name, manifest
        The manifest's file name and its entries. ``files`` is added to them, the SHA-256 of each file, ``sizes``,
        its bytes, and ``manifest_sha256``, that of all the other entries as sorted JSON.
    fill
        Called with the empty temporary directory.
    private
        Whether only its owner may read it, as then `final.parent`; otherwise the umask decides.
    change
        The context in which the directory is renamed.

    Raises
    ------
    OSError
        If the disk refuses; then `final` has not been changed.
    StateError
        If `final.parent` is not a directory, with the same effect.
    FencedError
        If `change` raises it, with the same effect.

    """
    make_directory(final.parent, private=private)
    temporary = final.parent / f"{TEMPORARY}{final.name}-{secrets.token_hex(4)}"
    temporary.mkdir(mode=0o700 if private else 0o777)
    try:
        with _refusals_as_os_errors():
            fill(temporary)
        files, sizes, mode = {}, {}, temporary.stat().st_mode & 0o666
        for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
            path.chmod(mode)  # by the umask: safetensors writes files that only the owner can read
            name = path.relative_to(temporary).as_posix()
            files[name], sizes[name] = _sync_and_digest(path)
        whole = manifest | {"files": files, "sizes": sizes}
        sealed = whole | {"manifest_sha256": _seal(whole)}
        _write_synced(temporary / manifest_name, json.dumps(sealed, indent=1).encode(), mode=mode)
        for directory in (temporary, *(p for p in temporary.rglob("*") if p.is_dir())):
            _sync_directory(directory)
        with change():
            temporary.rename(final)
        _sync_directory(final.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def verify_directory(
    path: Path, manifest_name: str, *, alone: bool = False, but: Collection[str] = ()
) -> dict[str, Any]:
    """Check every file of `path` against its manifest and return the manifest.

    Parameters
    ----------
    path, manifest_name
        The directory, and the name of the manifest in it.
    alone
        Whether a file that the manifest does not list is an error, too.
    but
        Files that may be missing or changed.

    Raises
    ------
    StateError
        Naming the file that is missing, unreadable, changed or unlisted.
    OSError
        If this process lacks memory or file descriptors to read it.

    """
    manifest = read_manifest(path, manifest_name)
    sizes = manifest.get("sizes", {})  # earlier versions did not write them
    for name, digest in manifest["files"].items():
        if name in but:
            continue
        with _unreadable_as_state_errors(path / name):
            file = open_regular(path / name, below=path.parent)
            with file:
                size = os.fstat(file.fileno()).st_size
                if size != sizes.get(name, size):
                    raise StateError(f"{path / name} is not what was written: it has {size} bytes, not {sizes[name]}")
                if _digest(file) != digest:
                    raise StateError(f"{path / name} is not what was written: its SHA-256 differs from the manifest's")
    if alone:
        listed = {manifest_name, *manifest["files"]}
        for found in sorted(p for p in path.rglob("*") if p.is_symlink() or not p.is_dir()):
            if found.relative_to(path).as_posix() not in listed:
                raise StateError(f"{found} is not what was written: the manifest does not list it")
    return manifest


def read_manifest(path: Path, manifest_name: str) -> dict[str, Any]:
    """Return the manifest of `path` without checking the files it lists.

    Raises
    ------
    StateError
        If it is missing or unreadable.
    OSError
        If this process lacks memory or file descriptors to read it.

    """
    file = path / manifest_name
    with _unreadable_as_state_errors(file):
        content = read_bytes(file, limit=MANIFEST_BYTES, below=path.parent)
    try:
        manifest: dict[str, Any] = msgspec.convert(json.loads(content), dict[str, Any])
        listed = msgspec.convert(manifest["files"], dict[str, str])
        msgspec.convert(manifest.get("sizes", {}), dict[str, int])
        if manifest.pop("manifest_sha256") != _seal(manifest) or not all(map(_is_inside, listed)):
            raise ValueError
    except (ValueError, KeyError, RecursionError):  # msgspec's ValidationError is a ValueError
        raise StateError(f"{file} is damaged: it is not the manifest that was written") from None
    return manifest


def _is_inside(name: str) -> bool:
    """Whether `name` is a valid path of a file below the directory, as manifests list them."""
    path = PurePosixPath(name)
    return name == path.as_posix() and name.isprintable() and not path.is_absolute() and not {".", ".."} & {*path.parts}


@contextmanager
def _unreadable_as_state_errors(path: Path) -> Iterator[None]:
    """Turn an OSError caused by the file `path` into a StateError that names it."""
    try:
        yield
    except OSError as error:
        if is_shortage(error):
            raise
        raise StateError(f"{path} cannot be read: {error.strerror}") from None


@contextmanager
def _refusals_as_os_errors() -> Iterator[None]:
    """Turn what safetensors (its own error) and tokenizers (a bare Exception) raise on a full disk into an OSError."""
    try:
        yield
    except Exception as error:
        if type(error) in (SafetensorError, Exception):
            raise OSError(str(error)) from error
        raise


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def point(link: Path, target: Path, *, change: Change = nullcontext) -> None:
    """Move the symbolic link `link` to `target`, atomically: a reader sees the old or the new one."""
    with change(), _replacing(link) as temporary:
        temporary.symlink_to(os.path.relpath(target, link.parent))
    _sync_directory(link.parent)


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace the content of the file `path`, atomically and synced; permissions follow `mode` and the umask."""
    with _replacing(path) as temporary:
        _write_synced(temporary, content, mode=mode)
    _sync_directory(path.parent)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` in the end, and is removed on failure."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(directory: Path) -> None:
    """Remove what killed writers left behind in `directory`, if it can be listed."""
    try:
        refuse_other_than_directory(directory)
        names = names_in(directory)
    except (OSError, StateError) as error:  # later reads and writes there report it, too
        log.warning("could not remove leftovers in %s: %s", directory, error)
        return
    for name in names:
        if name.startswith(TEMPORARY):
            discard(directory / name)


def discard(path: Path) -> None:
    """Remove `path`, whatever it is; if that fails, log it once and leave it."""
    failures: list[OSError] = []
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, onerror=lambda _, __, raised: failures.append(raised[1]))  # type: ignore[arg-type]
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        failures.append(error)
    if failures and path not in _staying:
        _staying.add(path)
        log.warning("%s could not be removed: %s", path, failures[0].strerror)


_staying: set[Path] = set()


def _sync_and_digest(path: Path) -> tuple[str, int]:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return _digest(file), file.tell()


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _write_synced(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Sync the content and the name of `path`, so that they survive a power failure; OSError if the disk refuses."""
    with open_regular(path) as file:
        os.fsync(file.fileno())
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
