"""Loads a published model, or any similar directory, without trusting it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from streamlearn.errors import ConfigurationError, StateError
from streamlearn.state import State
from streamlearn.storage.layout import EXPERTS, MANIFEST, WEIGHTS
from streamlearn.storage.states import unpack
from streamlearn.storage.store import verify_directory
from streamlearn.updater.experts.transformer.model import (
    bounded_by,
    check_weights,
    from_directory,
    one_sentence,
    silence,
)
from streamlearn.updater.experts.transformer.model_files import inspect


class Told(msgspec.Struct):
    """The settings of a snapshot that loading uses, with their types."""

    experts: list[str]
    pooling: str
    trains: str = "all"


@dataclass(frozen=True)
class Published:
    """A published mixture with its transformer.

    Attributes
    ----------
    mixture
        The rest besides the transformer: the labels and each expert's state.
    weights
        The transformer's weights, by name.
    settings
        The settings with which it was published.
    step
        The number of steps before that.

    """

    mixture: State
    weights: Mapping[str, Tensor]
    settings: Told
    step: int

    @classmethod
    def read(cls, directory: Path, manifest: Mapping[str, Any]) -> Published:
        """Return the contents of `directory`, whose files have been verified against its `manifest`.

        Raises
        ------
        Exception
            Whatever readers raise on files that are not a snapshot's.

        """
        mixture, weights = unpack(directory / EXPERTS), load_file(directory / WEIGHTS)
        step = msgspec.convert(manifest.get("step", 0), int)
        return cls(mixture, weights, msgspec.convert(manifest["settings"], Told), step)


def read_published(model: str) -> Published | None:
    """Return the mixture in the directory called `model`, or None if that is a transformer alone.

    Raises
    ------
    ConfigurationError
        If it is damaged.

    """
    directory = Path(model).expanduser()
    if not ((directory / MANIFEST).is_file() and (directory / EXPERTS).is_file()):
        return None
    with one_sentence(f"updater.model: cannot load the mixture in '{model}'", ConfigurationError):
        directory = directory.resolve()
        try:
            return Published.read(directory, verify_directory(directory, MANIFEST))
        except StateError as error:  # the configuration names a bad directory
            raise ValueError(str(error)) from None


def load_published(directory: Path) -> tuple[PreTrainedModel, Any]:
    """Return the classifier in `directory`, with exactly the weights in its files, and its tokenizer.

    Raises
    ------
    Exception
        Whatever transformers raises on its files; ``one_sentence`` in ``model.py`` turns it into a sentence.

    """
    silence()
    files, how = inspect(directory, remedy=""), from_directory(trusted=False)
    with bounded_by(files):
        model, found = AutoModelForSequenceClassification.from_pretrained(
            directory, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **how
        )
    if found["missing_keys"]:
        raise ValueError(
            f"{len(found['missing_keys'])} weights are not in the file, first: {min(found['missing_keys'])}"
        )
    check_weights(model, files, set())
    names = model.config.id2label
    if not all(isinstance(names.get(column), str) for column in range(model.config.num_labels)):
        raise ValueError("config.json does not name the label of each column (id2label)")
    return model, AutoTokenizer.from_pretrained(directory, **how)
