"""Low-rank adapters: each linear layer keeps W and computes with W + s·BA, where only B and A train.

The sum itself is computed in each pass, in float32, whereas peft adds s·B(Ax) to Wx: so a published model, in which the
sum is a plain weight, predicts what the learner did to the last bit. This costs one more product of the two small
matrices per pass.

References
----------
Hu, E. et al. (2022). LoRA: low-rank adaptation of large language models. ICLR. Dettmers, T. et al. (2023). QLoRA.
NeurIPS: adapt every linear layer.

"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.state import Adapter

SCALE = 2.0  # s: α is twice the rank
FACTORS = ("lora_A", "lora_B")
WITHIN = ".parametrizations.weight."  # where torch stores a weight and its adapter


class LowRank(nn.Module):
    """Adds s·BA to a weight.

    Parameters
    ----------
    weight
        Of shape (outputs, inputs), or (inputs, outputs) if `transposed`.
    rank
        The rank of BA.

    Attributes
    ----------
    lora_A, lora_B
        Of shape (rank, inputs) and (outputs, rank). A is random and B is 0, so that nothing changes at first.

    """

    def __init__(self, weight: Tensor, rank: int, *, transposed: bool) -> None:
        super().__init__()
        outputs, inputs = weight.shape[::-1] if transposed else weight.shape
        self._transposed = transposed
        self.lora_A = nn.Parameter(weight.new_empty(rank, inputs))
        self.lora_B = nn.Parameter(weight.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5.0))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted `weight`."""
        with torch.autocast(weight.device.type, enabled=False):
            added = SCALE * (self.lora_B @ self.lora_A)
            return weight + (added.T if self._transposed else added)


def linear_layers(base: PreTrainedModel, config: Updater) -> dict[str, nn.Module]:
    """Return the layers of `base`, a model without its head, that get adapters, by name.

    Raises
    ------
    ConfigurationError
        If there are none, or none has a name that ``lora_targets`` gives.

    """
    found: dict[str, nn.Module] = {
        name: module for name, module in base.named_modules() if isinstance(module, nn.Linear | Conv1D)
    }
    if not found:
        raise ConfigurationError(
            f"updater.trains is 'lora', but {type(base).__name__} has no linear layers; set it to all or head"
        )
    if not config.lora_targets:
        return found
    for target in config.lora_targets:
        if not any(_is_called(name, target) for name in found):
            names = sorted({name.rpartition(".")[2] for name in found})
            match = difflib.get_close_matches(target, names, n=1)
            nearest = f"; did you mean '{match[0]}'?" if match else f" (there are: {', '.join(names)})"
            raise ConfigurationError(f"updater.lora_targets: no linear layer is called '{target}'{nearest}")
    return {name: module for name, module in found.items() if any(_is_called(name, t) for t in config.lora_targets)}


def _is_called(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def adapt(base: PreTrainedModel, config: Updater) -> None:
    """Add the two matrices to each layer that gets an adapter, drawn from torch's generator."""
    for module in linear_layers(base, config).values():
        weight: Tensor = module.weight  # type: ignore[assignment]
        low_rank = LowRank(weight, config.lora_rank, transposed=isinstance(module, Conv1D))
        parametrize.register_parametrization(module, "weight", low_rank)


def is_factor(name: str) -> bool:
    """Whether the parameter `name` is one of the two matrices of an adapter."""
    return name.rpartition(".")[2] in FACTORS


def plain(name: str) -> str:
    """Return the plain name of the parameter `name`, without torch's naming of adapters.

    Examples
    --------
    >>> plain("layer.0.query.parametrizations.weight.original")
    'layer.0.query.weight'
    >>> plain("layer.0.query.parametrizations.weight.0.lora_A")
    'layer.0.query.lora_A'

    """
    layer, within, rest = name.partition(WITHIN)
    if not within:
        return name
    return f"{layer}.weight" if rest == "original" else f"{layer}.{rest.rpartition('.')[2]}"


def merged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the adapted weights, by their plain names."""
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            weight: Any = module.weight
            yield f"{name}.weight", weight.detach().to("cpu", copy=True)


def as_peft_has_it(base: PreTrainedModel, config: Updater, task: str = "FEATURE_EXTRACTION") -> Adapter:
    """Return a copy of the adapters of `base` in peft's format, for one of peft's values of `task`."""
    tensors = {
        f"base_model.model.{plain(name)}.weight": parameter.detach().to("cpu", copy=True)
        for name, parameter in base.named_parameters()
        if is_factor(name)
    }
    layers = {name.partition(WITHIN)[0]: None for name, _ in base.named_parameters() if is_factor(name)}
    settings = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": config.model,
        "r": config.lora_rank,
        "lora_alpha": SCALE * config.lora_rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(isinstance(base.get_submodule(name), Conv1D) for name in layers),
        "target_modules": list(layers),
        "inference_mode": True,
    }
    return Adapter(settings, tensors)
