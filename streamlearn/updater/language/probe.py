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
from streamlearn.updater.experts.transformer.probe import no_step
from streamlearn.updater.language.documents import Tokens
from streamlearn.updater.language.forward import Forward

TOLERANCE = 1e-4
"""How far the losses of a text's tokens may be apart in sum, relative to what it costs, to count as the same; float32
gives 1e-6."""
TRIED_TOKENS = 24  # of a short text: one that another is seen from has another loss already with the next token

log = logging.getLogger(__name__)


def find_out_whether_it_packs(forward: Forward, texts: Sequence[Tokens], config: Updater) -> None:
    """Have `forward` put documents side by side where each text then costs what it costs alone.

    A model that takes no mask of this kind, or reads positions that it makes itself, gives others; one that is
    recurrent reads on from one document into the next. One that attends to a window gives others, too, for texts that
    are longer than that, since the mask takes its place; and one whose rotation depends on the longest text gives
    others for those beside it. So a block is tried that is as long as any, and as full. Where something is not as it
    was, each text goes alone, which takes longer.

    Raises
    ------
    ConfigurationError
        If the model cannot read a text at all, or none of ``max_tokens``, or gives no finite loss for any.

    """
    long, short = _tried(*texts, most=config.max_tokens)
    forward.packs, autocast, forward.autocast = False, forward.autocast, False
    try:
        alone, again = _costs(forward, short), _costs(forward, short)
    except Exception as error:  # noqa: BLE001 - there is no end to what a model may raise
        raise ConfigurationError(f"updater.model: '{config.model}' cannot be used: {first_line(error)}") from None
    try:
        alone = [*_costs(forward, long), *alone]
    except Exception as error:  # noqa: BLE001 - likewise
        raise ConfigurationError(
            f"updater.max_tokens: '{config.model}' reads short texts, but none of up to {config.max_tokens} tokens: "
            f"{first_line(error)}"
        ) from None
    if not any(bool(torch.isfinite(losses).all()) for losses in alone):
        raise ConfigurationError(f"updater.model: '{config.model}' has a loss that is not finite on every text")
    if not _same(again, alone[len(long) :]):
        raise ConfigurationError(
            f"updater.model: '{config.model}' gives different results for the same text, so no step could be repeated"
        )
    forward.packs = True
    try:
        forward.packs = _same(_costs(forward, [*long, *short]), alone)
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
        raise no_step(error, config, part_trains=False) from None


def _tried(short: Tokens, long: Tokens, *, most: int) -> tuple[list[Tokens], list[Tokens]]:
    """Return texts of one document each, long ones and short ones, which fill more than two blocks of `most` tokens.

    In one block is a text that fills it but for a short one, in another one of three quarters beside one of a quarter.
    """
    short = short[: max(0, most // 4 - 1)]
    lengths = [most - len(short) - 1, most - most // 4, most // 4]  # with the end of the text
    long_ones = [long[: max(0, length - 1)] for length in lengths]
    few = long[: min(TRIED_TOKENS, most - 1)]
    return long_ones, [short, few, few[: len(few) // 2], short[::-1].copy()]


def _costs(forward: Forward, texts: Sequence[Tokens]) -> list[torch.Tensor]:
    """Return the losses of the tokens of each of `texts`, which are one document each; no gradient is kept."""
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for block in forward.blocks(texts):
            parts = forward.losses(block).to("cpu", torch.float64).split([len(piece) for piece in block.pieces])
            found.update((piece.text, part) for piece, part in zip(block.pieces, parts, strict=True))
    return [found[index] for index in range(len(texts))]


def _same(ones: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """Whether each text costs the same, as far as `others` are finite: one word may overflow, and others not.

    What one token costs more and another less does not cancel out.
    """

    def apart(one: torch.Tensor, other: torch.Tensor) -> bool:
        finite = torch.isfinite(other)
        return not bool((one - other)[finite].abs().sum() <= TOLERANCE * other[finite].sum())

    return not any(map(apart, ones, others))
