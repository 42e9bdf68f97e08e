"""Lists and verifies the published snapshots, and shows where one comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamlearn.config import Config
from streamlearn.publisher.snapshots import VERSION, SnapshotStore
from streamlearn.storage.layout import LATEST


def listed(config: Config) -> list[dict[str, Any]]:
    """Return the manifest of each snapshot, oldest first, with its ``path`` and whether it is ``latest``."""
    store = _store(config)
    latest = store.latest()
    return [
        store.manifest(version) | {"latest": version == latest, "path": str(store.path(version))}
        for version in store.versions()
    ]


def manifest(config: Config, name: str) -> dict[str, Any]:
    """Return the manifest of the snapshot called `name`: a version or ``latest``.

    Raises
    ------
    StateError
        If there is no such snapshot, or its manifest cannot be used.

    """
    store = _store(config)
    return store.manifest(store.resolve(name))


def verify(config: Config, name: str) -> dict[str, Any]:
    """Check every file of the snapshot called `name` against its manifest, and return the manifest.

    Raises
    ------
    StateError
        If there is no such snapshot, or a file differs, which is named.

    """
    store = _store(config)
    return store.verify(store.resolve(name))


def is_version(name: str) -> bool:
    """Return whether `name` is that of a version, or ``latest``, so that no directory is meant."""
    return name == LATEST or VERSION.fullmatch(name) is not None


def path_of(config: Config, name: str) -> Path:
    """Return the directory of the snapshot called `name`; StateError if there is none."""
    store = _store(config)
    return store.path(store.resolve(name))


def _store(config: Config) -> SnapshotStore:
    return SnapshotStore(config.publisher.directory / "snapshots")
