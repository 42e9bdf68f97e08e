"""Directories that are there whole or not at all.

A directory is written beside its final name, every file is fsynced and listed with its SHA-256 in a manifest
that is written last, and only then is it renamed and its parent fsynced. Whoever reads one checks it
against its manifest, so a torn or bit-flipped one is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from streamlearn.errors import StateError

TEMPORARY = ".tmp-"
Change = Callable[[], AbstractContextManager[None]]
"""Makes the context in which what others read may be changed, as :meth:`Fence.change` does."""


def write_directory(
    final: Path,
    manifest_name: str,
    manifest: dict[str, Any],
    fill: Callable[[Path], None],
    *,
    change: Change = nullcontext,
) -> None:
    """Create `final` with what `fill` writes into it and the manifest that lists it.

    Parameters
    ----------
    final
        The directory, which must not exist yet: what is published is never changed.
    manifest_name, manifest
        The manifest's file name and its entries. ``files`` is added to them, the SHA-256 of each file, and
        ``manifest_sha256``, that of all the other entries as sorted JSON.
    fill
        Called with the empty temporary directory.
    change
        In its context the directory is renamed.

    Raises
    ------
    OSError
        If the disk refuses; nothing of the name `final` has changed then.
    FencedError
        If `change` raises it, with the same effect.

    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{TEMPORARY}{final.name}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        with _refusals_as_os_errors():
            fill(temporary)
        files, mode = {}, temporary.stat().st_mode & 0o666
        for path in sorted(p for p in temporary.rglob("*") if p.is_file()):
            path.chmod(mode)  # as the umask says: safetensors lets nobody else read what it writes
            files[path.relative_to(temporary).as_posix()] = _sync_and_digest(path)
        whole = manifest | {"files": files}
        sealed = whole | {"manifest_sha256": _seal(whole)}
        _write_synced(temporary / manifest_name, json.dumps(sealed, indent=1).encode())
        _sync_directory(temporary)
        with change():
            temporary.rename(final)
        _sync_directory(final.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def verify_directory(path: Path, manifest_name: str) -> dict[str, Any]:
    """Check every file of `path` against its manifest and return the manifest.

    Raises
    ------
    StateError
        Naming the file that is missing, unreadable or not what was written.

    """
    manifest = read_manifest(path, manifest_name)
    for name, digest in manifest["files"].items():
        try:
            found = _digest(path / name)
        except OSError as error:
            raise StateError(f"{path / name} cannot be read: {error.strerror}") from None
        if found != digest:
            raise StateError(f"{path / name} is not what was written: its SHA-256 differs from the manifest's")
    return manifest


def read_manifest(path: Path, manifest_name: str) -> dict[str, Any]:
    """Return the manifest of `path` without checking the files it lists.

    Raises
    ------
    StateError
        If it is missing or unreadable.

    """
    try:
        manifest = json.loads((path / manifest_name).read_bytes())
        if manifest.pop("manifest_sha256") != _seal(manifest):
            raise ValueError
    except OSError as error:
        raise StateError(f"{path / manifest_name} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StateError(f"{path / manifest_name} is damaged: it is not the manifest that was written") from None
    return manifest  # type: ignore[no-any-return]


@contextmanager
def _refusals_as_os_errors() -> Iterator[None]:
    """Make an OSError of how safetensors (its own error) and tokenizers (a bare Exception) report a full disk."""
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


def replace_file(path: Path, content: bytes) -> None:
    """Give the file `path` another content, atomically and synced."""
    with _replacing(path) as temporary:
        _write_synced(temporary, content)
    _sync_directory(path.parent)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a name for what takes the place of `path` in the end, and is removed where that fails."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(directory: Path) -> None:
    """Remove what writers that were killed left behind in `directory`, if it is there."""
    for leftover in directory.glob(f"{TEMPORARY}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _sync_and_digest(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return _digest(path)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
