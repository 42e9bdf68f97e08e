"""Finds out at the start what a language model can bear: documents side by side, and a step on long texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.transformer.model import first_line
from streamlearn.updater.experts.transformer.optimizer import Optimizer
from streamlearn.updater.language.documents import Tokens
from streamlearn.updater.language.forward import Forward

TOLERANCE = 1e-3
"""How far losses may be apart, relative to the larger, to count as the same; float32 gives 1e-6."""
TRIED_TOKENS = 24  # of a text: one that another is seen from has another loss already with the next token

log = logging.getLogger(__name__)


def find_out_whether_it_packs(forward: Forward, texts: Sequence[Tokens], config: Updater) -> None:
    """Have `forward` put documents side by side where each text then costs what it costs alone.

    A model that takes no mask of this kind, or reads positions that it makes itself, gives others; one that is
    recurrent reads on from one document into the next. Then each goes alone, which takes longer.

    Raises
    ------
    ConfigurationError
        If the model cannot read a text at all, or gives no finite loss for any.

    """
    short, long = (tokens[:TRIED_TOKENS] for tokens in texts)
    tried = [short, long, long[: TRIED_TOKENS // 2], short[::-1].copy()]
    forward.packs, autocast, forward.autocast = False, forward.autocast, False
    try:
        alone, again = forward.nats(tried), forward.nats(tried)
    except Exception as error:  # noqa: BLE001 - there is no end to what a model may raise
        raise ConfigurationError(f"updater.model: '{config.model}' cannot be used: {first_line(error)}") from None
    if not bool(torch.isfinite(alone).any()):
        raise ConfigurationError(f"updater.model: '{config.model}' has a loss that is not finite on every text")
    if not _same(again, alone):
        raise ConfigurationError(
            f"updater.model: '{config.model}' says something else each time, so that no step can be repeated"
        )
    forward.packs = True
    try:
        forward.packs = _same(forward.nats(tried), alone) and _same(forward.nats(tried[::-1]), alone.flip(0))
    except Exception as error:  # noqa: BLE001 - a model that takes no positions or no such mask
        log.debug("documents cannot go side by side: %s", error)
        forward.packs = False
    forward.autocast = autocast
    if not forward.packs:
        log.warning(
            "updater.model: '%s' does not keep documents in one block apart, so each text goes through it alone, which "
            "takes longer",
            config.model,
        )


def try_a_step(forward: Forward, texts: Sequence[Tokens], optimizer: Optimizer, config: Updater) -> None:
    """Take a step on `texts`. The caller restores θ afterwards.

    Raises
    ------
    ConfigurationError
        If the model or the optimiser cannot do it.

    """
    total = sum(forward.counts(texts))
    try:
        for block in forward.blocks(texts):
            (forward.losses(block).sum() / total).backward()
        norm = optimizer.gradient_norm()
        if math.isfinite(norm):
            optimizer.step(norm)
    except Exception as error:  # noqa: BLE001 - there is no end to what a model may raise
        likely = {
            "updater.embeddings": config.embeddings == "sparse",
            "updater.precision": config.precision == "bf16",
            "updater.max_tokens": isinstance(error, torch.OutOfMemoryError | MemoryError),
        }
        setting = next((name for name, applies in likely.items() if applies), "updater.model")
        raise ConfigurationError(
            f"{setting}: '{config.model}' cannot take a step on texts of up to {config.max_tokens} tokens: "
            f"{first_line(error)}"
        ) from None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether texts cost the same, as far as `other` is finite: one word may overflow, and others not."""
    finite = torch.isfinite(other)
    return bool(torch.allclose(one[finite], other[finite], rtol=TOLERANCE, atol=0.0))
