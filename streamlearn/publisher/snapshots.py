"""Snapshots: the published mixture, and its transformer in the layout that Hugging Face's code loads.

A version is a directory that never changes once it exists; ``latest`` is a symbolic link to one of them, moved last.
``experts.safetensors`` holds the parts of the mixture besides the transformer; ``streamlearn.json`` says where
everything comes from and how good it is, and lists the SHA-256 of each file.
"""

from __future__ import annotations

import errno
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Literal

import msgspec
from safetensors.torch import save_file

import streamlearn
from streamlearn.errors import StateError
from streamlearn.publisher.card import CARD, card
from streamlearn.state import Export
from streamlearn.storage.files import names_in, refuse_other_than_directory
from streamlearn.storage.layout import ADAPTER, EXPERTS, LATEST, MANIFEST, WEIGHTS
from streamlearn.storage.states import pack
from streamlearn.storage.store import Store, discard, point, read_manifest, verify_directory, write_directory

NAME = re.compile(r"v([0-9]{8})")
VERSION = re.compile(r"v?([0-9]{1,8})")  # as a person names it
PACKAGES = {
    name: installed(name)  # once, because looking it up opens files
    for name in ("kafka-python", "numpy", "river", "safetensors", "tokenizers", "torch", "transformers")
}


class Evidence(msgspec.Struct):
    """The figures of a snapshot, each None if not measured.

    They are those of the published predictor, unless named as those of its transformer alone. A language model has the
    last three, a classifier the others.
    """

    prequential_accuracy: float | None = None
    holdout_accuracy: dict[str, float | None] = {}
    transformer_holdout_accuracy: dict[str, float | None] = {}
    prequential_perplexity: float | None = None
    prequential_bits_per_byte: float | None = None
    holdout_bits_per_byte: dict[str, float | None] = {}


class Manifest(msgspec.Struct):
    """The entries of a manifest that are used, with their types."""

    version: int
    step: int
    created: float = 0.0
    events: dict[str, int] = {}
    metrics: Evidence = msgspec.field(default_factory=Evidence)
    predictor: Literal["mixture", "transformer", "language_model"] = "transformer"  # earlier versions do not say so
    settings: dict[str, Any] = {}
    config_digest: str = ""


class SnapshotStore(Store):
    """The published snapshots. The one that ``latest`` points to is always kept."""

    def versions(self) -> list[int]:
        """Return the published versions, oldest first.

        Raises
        ------
        StateError
            If their path is not a directory.
        OSError
            If it cannot be listed.

        """
        matches = (NAME.fullmatch(name) for name in names_in(self.directory))
        return sorted(int(match[1]) for match in matches if match)

    def path(self, version: int) -> Path:
        """Return the directory of `version`."""
        return self.directory / f"v{version:08d}"

    def latest(self) -> int | None:
        """Return the version that ``latest`` points to, or None before the first."""
        link = self.directory / LATEST
        match = NAME.fullmatch(link.readlink().name) if link.is_symlink() else None
        return int(match[1]) if match else None

    def resolve(self, name: str) -> int:
        """Return the version called `name`: a number, ``v00000007`` or ``latest``.

        Raises
        ------
        StateError
            If there is no such snapshot.

        """
        if name == LATEST:
            version = self.latest()
            if version is None:
                raise StateError(f"{self.directory} has no snapshot yet")
            return version
        match = VERSION.fullmatch(name)
        if not match or int(match[1]) not in self.versions():
            known = ", ".join(str(v) for v in self.versions()) or "none"
            raise StateError(f"{self.directory} has no snapshot '{name}' (there: {known})")
        return int(match[1])

    def manifest(self, version: int) -> dict[str, Any]:
        """Return the manifest of `version`; StateError if it is missing or unusable."""
        manifest = read_manifest(self.path(version), MANIFEST)
        try:
            relied_on: dict[str, Any] = msgspec.to_builtins(msgspec.convert(manifest, Manifest))
        except (msgspec.ValidationError, RecursionError) as error:
            raise StateError(f"{self.path(version) / MANIFEST} is damaged: {error}") from None
        if relied_on["version"] != version:
            raise StateError(f"{self.path(version)} is not what was written: {MANIFEST} is of another version")
        return relied_on | manifest | {"metrics": relied_on["metrics"] | manifest.get("metrics", {})}

    def newest(self) -> dict[str, Any] | None:
        """Return the manifest of ``latest``, or None if it is missing or unreadable."""
        try:
            version = self.latest()
            return None if version is None else self.manifest(version)
        except (OSError, StateError):
            return None

    def verify(self, version: int) -> dict[str, Any]:
        """Check every file of `version` against its manifest; StateError names the first that differs."""
        manifest = verify_directory(self.path(version), MANIFEST, alone=True)
        if manifest.get("version") != version or not isinstance(manifest.get("step"), int):
            raise StateError(f"{self.path(version)} is not what was written: it is another version")
        return manifest

    def write(self, version: int, step: int, export: Export, provenance: dict[str, Any]) -> Path:
        """Write `version`, θ after `step`, move ``latest`` to it, then remove the oldest ones.

        If a writer was killed before it moved ``latest``, what it had written is used if it is intact and of the same
        step, and replaced otherwise.

        Raises
        ------
        OSError
            If the disk refuses.
        StateError
            If the path holds something else, or the number does not fit into the name.

        """
        path = self.path(version)
        if not NAME.fullmatch(path.name):
            raise StateError(f"the name of a snapshot cannot hold the version {version}")
        manifest = _manifest(version, step, export, {"parent": self.latest(), **provenance})
        if self.step_of(version) != step:
            if os.path.lexists(path):
                if version <= (self.latest() or 0):  # published: readers may be using it, so it never changes
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
                with self._change():
                    discard(path)

            def fill(into: Path) -> None:
                _fill(into, export)
                (into / CARD).write_text(card(manifest, export), encoding="utf-8")

            write_directory(path, MANIFEST, manifest, fill, change=self._change)
        try:
            point(self.directory / LATEST, path, change=self._change)
        finally:  # what blocks the link must not fill the disk
            self._retire(version)
        return path

    @staticmethod
    def misnamed(export: Export) -> str | None:
        """Return what is wrong with the column names of `export`, or None if they are unique or there are none."""
        if not export.columns:  # the transformer has no head, because no expert trains it
            return None
        names = [export.config.id2label.get(column) for column in range(export.columns)]
        if len(export.config.id2label) != export.columns or len(set(names)) != export.columns:
            return f"its head has {export.columns} columns, and {len(set(names) - {None})} names of labels for them"
        return None

    def step_of(self, version: int) -> int | None:
        """Return the step of `version`, or None if it is missing or damaged."""
        try:
            return int(self.verify(version)["step"])
        except StateError:
            return None

    def _retire(self, newest: int) -> None:
        """Remove all but the last versions up to `newest`; later ones are ignored."""
        with self._change():
            refuse_other_than_directory(self.directory)
            latest = self.latest()
            for version in [v for v in self.versions() if v <= newest][: -self._keep]:
                if version != latest:
                    discard(self.path(version))


def write_alone(path: Path, step: int, export: Export, provenance: dict[str, Any], *, texts: Mapping[str, str]) -> None:
    """Write a snapshot of θ after `step` to `path`, which must not exist, as a single version outside any store.

    Parameters
    ----------
    path
        Its directory.
    step, export, provenance
        As in :meth:`SnapshotStore.write`.
    texts
        Further files, by name.

    Raises
    ------
    OSError
        If the disk refuses.
    StateError
        If something else lies in the way.

    """

    def fill(directory: Path) -> None:
        _fill(directory, export)
        for name, text in texts.items():
            (directory / name).write_text(text)

    write_directory(path, MANIFEST, _manifest(1, step, export, {"parent": None, **provenance}), fill)


def _manifest(version: int, step: int, export: Export, provenance: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": version,
        "step": step,
        "predictor": export.predictor,
        **provenance,
        "settings": export.settings,
        "packages": packages(),
    }


def _fill(directory: Path, export: Export) -> None:
    """Write the files of a snapshot into `directory`."""
    export.config.save_pretrained(directory)
    export.tokenizer.save_pretrained(directory)
    save_file(export.weights, directory / WEIGHTS, metadata={"format": "pt"})
    if export.adapter:
        (directory / ADAPTER).mkdir()  # separate: next to the weights, transformers would add it to the merged ones
        settings = msgspec.json.format(msgspec.json.encode(export.adapter.settings), indent=1)
        (directory / ADAPTER / "adapter_config.json").write_bytes(settings)
        save_file(export.adapter.weights, directory / ADAPTER / "adapter_model.safetensors", {"format": "pt"})
    if export.mixture:
        (directory / EXPERTS).write_bytes(pack(export.mixture))


def packages() -> dict[str, str]:
    """Return the versions of the packages that made the weights."""
    return {"streamlearn": streamlearn.__version__, "python": platform.python_version(), **PACKAGES}
