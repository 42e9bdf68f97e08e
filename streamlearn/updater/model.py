"""Loads a classifier by hub name or local path, and grows its head."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError

log = logging.getLogger(__name__)


def load_model(config: Updater, labels: list[str]) -> tuple[PreTrainedModel, Any, list[str]]:
    """Return the model, its tokenizer, and the names of its head's columns.

    A checkpoint that was already trained to classify keeps its head where its labels are among `labels`, or
    where `labels` is empty, which asks for discovery; what `labels` adds gets new rows. Otherwise the head is
    new, initialised from torch's generator.

    Raises
    ------
    ConfigurationError
        If the model or its tokenizer cannot be loaded.

    """
    transformers.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports every attempt to connect
    transformers.logging.disable_progress_bar()
    name = config.model
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise ConfigurationError(f"updater.model: there is no directory {name}")
    source = os.path.expanduser(name)  # noqa: PTH111 - a hub name must stay as it is
    try:
        settings = AutoConfig.from_pretrained(source)
        dropouts = {key: config.dropout for key in settings.to_dict() if _is_dropout(key)}
        known = _trained_labels(settings)
        keeps_head = bool(known) and (not labels or set(known) <= set(labels))
        columns = known if keeps_head else labels
        names = columns or ["LABEL_0"]
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=AutoConfig.from_pretrained(
                source,
                **dropouts,
                **config.model_overrides,
                id2label=dict(enumerate(names)),
                label2id={name: column for column, name in enumerate(names)},
            ),
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigurationError(f"updater.model: cannot load '{name}': {first}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.model_max_length = config.max_tokens
    columns = list(columns)
    while len(columns) < len(labels):
        columns += [next(label for label in labels if label not in columns)]
        grow_head(model, 1)
    return model, tokenizer, columns


def _is_dropout(key: str) -> bool:
    return key.endswith(("dropout", "dropout_prob", "pdrop", "drop"))


def _trained_labels(settings: Any) -> list[str]:
    """Return the labels of a head that was trained; the placeholders LABEL_0, LABEL_1, … mean that none was."""
    names = [settings.id2label[column] for column in sorted(settings.id2label)]
    return [] if all(name == f"LABEL_{column}" for column, name in enumerate(names)) else names


def output_layer(model: PreTrainedModel) -> tuple[nn.Module, str, nn.Linear]:
    """Return the last linear layer of the head, with the module that holds it and its name there."""
    base = {id(module) for module in model.base_model.modules()}
    for name, module in reversed(list(model.named_modules())):
        if isinstance(module, nn.Linear) and id(module) not in base and module.out_features == model.config.num_labels:
            parent, _, attribute = name.rpartition(".")
            return model.get_submodule(parent), attribute, module
    raise ConfigurationError(f"{type(model).__name__} ends in no linear layer with one output a label")


def grow_head(model: PreTrainedModel, count: int) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Add `count` labels to the head and return each replaced parameter with its larger successor.

    New rows are drawn as the model's own initialisation draws them; the old rows keep their values.
    """
    parent, attribute, old = output_layer(model)
    new = nn.Linear(old.in_features, old.out_features + count, bias=old.bias is not None, device=old.weight.device)
    with torch.no_grad():
        new.weight.normal_(0.0, getattr(model.config, "initializer_range", 0.02))
        new.weight[: old.out_features] = old.weight
        if old.bias is not None:
            new.bias.zero_()
            new.bias[: old.out_features] = old.bias
    setattr(parent, attribute, new)
    columns = new.out_features
    model.config.num_labels = columns
    if hasattr(model, "num_labels"):
        model.num_labels = columns  # type: ignore[assignment]
    return [(parameter, getattr(new, name)) for name, parameter in old.named_parameters()]


def shrink_head(model: PreTrainedModel, count: int) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Undo :func:`grow_head`: keep the first `count` labels, and return each replaced parameter with its successor."""
    parent, attribute, old = output_layer(model)
    new = nn.Linear(old.in_features, count, bias=old.bias is not None, device=old.weight.device)
    with torch.no_grad():
        for name, parameter in old.named_parameters():
            getattr(new, name).copy_(parameter[:count])
    setattr(parent, attribute, new)
    model.config.num_labels = count
    if hasattr(model, "num_labels"):
        model.num_labels = count  # type: ignore[assignment]
    return [(parameter, getattr(new, name)) for name, parameter in old.named_parameters()]
