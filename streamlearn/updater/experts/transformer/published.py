"""Loads a model that was published, or any directory like it, without trusting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from streamlearn.updater.experts.transformer.model import bounded_by, check_weights, from_directory, silence
from streamlearn.updater.experts.transformer.model_files import inspect


def load_published(directory: Path) -> tuple[PreTrainedModel, Any]:
    """Return the classifier in `directory`, with its weights as they are in its files, and its tokenizer.

    Raises
    ------
    Exception
        Whatever its files make transformers raise; ``one_sentence`` in ``model.py`` makes one of it.

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
