"""The head of a classifier: its labels, its last layer, and how it is initialised and grows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from streamlearn.errors import ConfigurationError

PLACEHOLDER = re.compile(r"LABEL_\d+")
NO_LABEL_YET = "LABEL_0"
"""The name of the single column of a head without labels."""


def labels_of(settings: Any) -> list[str]:
    """Return the names of the columns of a head that was trained, or none.

    The placeholders LABEL_0, LABEL_1, … mean an untrained head, and names that are not unique are ignored.
    """
    names = settings.id2label or {}
    labels = [name for name in map(names.get, range(len(names))) if isinstance(name, str)]
    if len(set(labels)) != len(names):
        return []
    return [] if all(PLACEHOLDER.fullmatch(label) for label in labels) else labels


def problem_type(columns: int) -> Literal["single_label_classification"] | None:
    """Return the problem type of a single-label classifier; transformers has none for one column."""
    return "single_label_classification" if columns > 1 else None


def is_pooler(name: str) -> bool:
    """Whether the parameter `name` is a pooler's, which is random if the file has none, and unused by features."""
    return "pooler" in name.split(".")


def head_keys(model: PreTrainedModel) -> set[str]:
    """Return the names of the parameters outside the pre-trained base."""
    base = {id(parameter) for parameter in model.base_model.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in base}


def output_layer(model: PreTrainedModel) -> tuple[nn.Module, str, nn.Linear]:
    """Return the last linear layer of the head, with the module that holds it and its name there."""
    base = {id(module) for module in model.base_model.modules()}
    for name, module in reversed(list(model.named_modules())):
        if isinstance(module, nn.Linear) and id(module) not in base and module.out_features == model.config.num_labels:
            parent, _, attribute = name.rpartition(".")
            return model.get_submodule(parent), attribute, module
    raise ConfigurationError(
        f"updater.model: {type(model).__name__} does not end in a linear layer with one output per label, so it "
        "cannot learn a new label; choose a model of another architecture"
    )


def output_keys(model: PreTrainedModel) -> set[str]:
    """Return the names of the parameters of the last linear layer."""
    members = {id(parameter) for parameter in output_layer(model)[2].parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in members}


def draw_head(model: PreTrainedModel, names: Iterable[str]) -> None:
    """Give the head a last layer with a column for each of `names`, drawn as the model's initialisation draws it."""
    parent, attribute, old = output_layer(model)
    _replace(model, parent, attribute, _drawn(model, old, len(list(names))))


def grow_head(model: PreTrainedModel, count: int) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Add `count` labels to the head and return each replaced parameter with its larger successor.

    New rows are drawn as the model's own initialisation draws them; the old rows keep their values.
    """
    parent, attribute, old = output_layer(model)
    new = _drawn(model, old, old.out_features + count)
    with torch.no_grad():
        new.weight[: old.out_features] = old.weight
        if old.bias is not None:
            new.bias[: old.out_features] = old.bias
    _replace(model, parent, attribute, new)
    return [(parameter, getattr(new, name)) for name, parameter in old.named_parameters()]


def shrink_head(model: PreTrainedModel, count: int) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Undo :func:`grow_head`: keep the first `count` labels, and return each replaced parameter with its successor."""
    parent, attribute, old = output_layer(model)
    new = nn.Linear(old.in_features, count, bias=old.bias is not None, device=old.weight.device)
    with torch.no_grad():
        for name, parameter in old.named_parameters():
            getattr(new, name).copy_(parameter[:count])
    _replace(model, parent, attribute, new)
    return [(parameter, getattr(new, name)) for name, parameter in old.named_parameters()]


def _drawn(model: PreTrainedModel, old: nn.Linear, columns: int) -> nn.Linear:
    new = nn.Linear(old.in_features, columns, bias=old.bias is not None, device=old.weight.device)
    with torch.no_grad():
        new.weight.normal_(0.0, getattr(model.config, "initializer_range", 0.02))
        if old.bias is not None:
            new.bias.zero_()
    return new


def _replace(model: PreTrainedModel, parent: nn.Module, attribute: str, new: nn.Linear) -> None:
    setattr(parent, attribute, new)
    model.config.num_labels = new.out_features
    if hasattr(model, "num_labels"):
        model.num_labels = new.out_features  # type: ignore[assignment]
