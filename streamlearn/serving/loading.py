"""Finds a snapshot by its path, verifies it, and loads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from streamlearn.errors import ConfigurationError, StateError
from streamlearn.serving.predictor import Predictor, Scorer
from streamlearn.serving.scorers import MixtureScorer, TransformerScorer
from streamlearn.storage.layout import EXPERTS, LATEST, MANIFEST, SNAPSHOTS
from streamlearn.storage.store import verify_directory
from streamlearn.updater.experts.transformer.model import one_sentence
from streamlearn.updater.experts.transformer.model_files import read_json
from streamlearn.updater.experts.transformer.published import Published, load_published
from streamlearn.updater.published import from_published


class Origin(msgspec.Struct):
    """The entries of a manifest that loading uses, with their types; defaults if there is no manifest."""

    version: int | None = None
    predictor: str = ""
    settings: dict[str, Any] = {}
    files: dict[str, str] = {}


def load(path: str | Path) -> Predictor:
    """Return the model published at `path`.

    Links are resolved once, so that all texts are predicted with the same weights, whatever is published meanwhile.
    Each file is checked against the SHA-256 in the manifest, and no code stored with the weights is run.

    Parameters
    ----------
    path
        A snapshot, such as ``latest``; a directory of snapshots or the learner's state directory, for the latest
        snapshot; or any directory with a classifier written by Hugging Face's ``save_pretrained``.

    Raises
    ------
    StateError
        If there is none, or it is damaged or cannot be loaded.

    """
    directory = locate(Path(path))
    if os.path.lexists(directory / EXPERTS) and not os.path.lexists(directory / MANIFEST):
        raise StateError(
            f"the snapshot {path} cannot be loaded: it has {EXPERTS}, but no {MANIFEST} to say what they are"
        )
    with one_sentence(f"the snapshot {path} cannot be loaded", StateError):
        manifest = verify_directory(directory, MANIFEST) if os.path.lexists(directory / MANIFEST) else {}
        if holds_a_language_model(directory, manifest):
            raise ValueError(
                "it holds a language model, which has no labels to predict; streamlearn.load_language_model loads it, "
                "and so does AutoModelForCausalLM of transformers"
            )
        origin = msgspec.convert(manifest, Origin)
        return Predictor(_scorer(directory, manifest, origin), version=origin.version)


def is_a_language_model(path: str | Path) -> bool:
    """Whether the model published at `path` is a language model; StateError if there is none, or it is damaged."""
    directory = locate(Path(path))
    with one_sentence(f"the snapshot {path} cannot be loaded", StateError):
        written = os.path.lexists(directory / MANIFEST)
        return holds_a_language_model(directory, read_json(directory / MANIFEST) if written else {})


def holds_a_language_model(directory: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether `directory` holds one, by its `manifest` or, if that is empty, by its configuration."""
    if manifest:
        return msgspec.convert(manifest, Origin).predictor == "language_model"
    named = read_json(directory / "config.json").get("architectures") or [""]
    return str(named[0]).endswith(("ForCausalLM", "LMHeadModel"))


def _scorer(directory: Path, manifest: Mapping[str, Any], origin: Origin) -> Scorer:
    """Return the predictor; snapshots of earlier versions, and other directories, are a transformer alone."""
    if EXPERTS not in origin.files:
        return TransformerScorer(*load_published(directory))
    settings = origin.settings | {"trust_remote_code": False}  # a manifest cannot grant this
    published = Published.read(directory, manifest)
    try:
        return MixtureScorer(from_published(str(directory), settings, published))
    except ConfigurationError as error:  # the user has configured nothing here
        raise ValueError(str(error)) from None


def locate(path: Path) -> Path:
    """Return the directory of the snapshot that `path` names, links resolved; StateError if there is none."""
    for found in (path, path / LATEST, path / SNAPSHOTS / LATEST):
        with one_sentence(f"the snapshot {found} cannot be loaded", StateError):
            if (found / "config.json").is_file():
                return found.resolve(strict=True)
    raise StateError(f"there is no snapshot at {path}, and none in it that is called {LATEST}")
