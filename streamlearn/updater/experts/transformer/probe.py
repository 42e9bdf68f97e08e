"""Takes one step on a few texts before anything is learnt, so that a model's limitations are found at the start."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name in the field
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.transformer.batches import Part
from streamlearn.updater.experts.transformer.model import first_line
from streamlearn.updater.experts.transformer.optimizer import Optimizer


def probe_step(parts: Sequence[Part], forward: Callable[[Part], Tensor], optimizer: Optimizer, config: Updater) -> None:
    """Take a step on `parts`, whose targets are the columns in turn. The caller restores θ afterwards.

    Raises
    ------
    ConfigurationError
        If the model, its embeddings or the optimiser cannot do it, or no text has a finite loss.

    """
    texts = sum(len(part.rows) for part in parts)
    finite = False
    try:
        for part in parts:
            logits = forward(part)
            targets = torch.tensor([row % logits.shape[1] for row in part.rows], device=logits.device)
            losses = F.cross_entropy(logits, targets, reduction="none")
            finite |= bool(torch.isfinite(losses).any())
            (losses.sum() / texts).backward()
        norm = optimizer.gradient_norm()
        if math.isfinite(norm):
            optimizer.step(norm)
    except Exception as error:  # noqa: BLE001 - there is no end to what a model may raise
        raise no_step(error, config, part_trains=config.trains != "all") from None
    if not finite:
        raise ConfigurationError(f"updater.model: '{config.model}' has a loss that is not finite on every text")


def no_step(error: Exception, config: Updater, *, part_trains: bool) -> ConfigurationError:
    """Return the error that a model cannot take a step, naming the setting that most likely caused `error`.

    `part_trains` says whether ``updater.trains`` may be the cause.
    """
    likely = {
        "updater.embeddings": config.embeddings == "sparse",
        "updater.trains": part_trains,
        "updater.precision": config.precision == "bf16",
        "updater.max_tokens": isinstance(error, torch.OutOfMemoryError | MemoryError),
    }
    setting = next((name for name, applies in likely.items() if applies), "updater.model")
    return ConfigurationError(
        f"{setting}: '{config.model}' cannot take a step on texts of up to {config.max_tokens} tokens: "
        f"{first_line(error)}"
    )


def mixed_lengths(short: NDArray[np.int32], long: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Return a short text, one of half the maximum length, and one of the maximum length."""
    half = len(long) // 2
    return [short, np.concatenate([long[:half], long[-1:]]), long]
