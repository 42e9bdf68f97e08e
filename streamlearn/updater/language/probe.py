"""Finds out at the start what a language model supports: packed documents, and a step on long texts."""

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
"""Tolerance for equal losses of a text's tokens, summed and relative to its cost; float32 differs by 1e-6."""
TRIED_TOKENS = 24  # of a short text: attending to another document changes the loss of the very next token

log = logging.getLogger(__name__)


def find_out_whether_it_packs(forward: Forward, texts: Sequence[Tokens], config: Updater) -> None:
    """Let `forward` pack documents if each text then has the same cost as alone.

    The costs differ if a model does not support such a mask, or computes its own positions, or is recurrent and reads
    on from one document into the next. They differ, too, with attention to a window, for longer texts, since the mask
    replaces the window; and with a rotation that depends on the longest text. So a full block of the maximum length is
    tried. If anything differs, each text goes alone, which takes longer.

    Raises
    ------
    ConfigurationError
        If the model cannot read a text at all, or not one of ``max_tokens``, or has no finite loss for any.

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
    """Return long and short texts of one document each, which fill more than two blocks of `most` tokens.

    One block has a long text and a short one, another has texts of three quarters and one quarter.
    """
    short = short[: max(0, most // 4 - 1)]
    lengths = [most - len(short) - 1, most - most // 4, most // 4]  # including the end of the text
    long_ones = [long[: max(0, length - 1)] for length in lengths]
    few = long[: min(TRIED_TOKENS, most - 1)]
    return long_ones, [short, few, few[: len(few) // 2], short[::-1].copy()]


def _costs(forward: Forward, texts: Sequence[Tokens]) -> list[torch.Tensor]:
    """Return the losses of the tokens of each of `texts`, which are one document each, without gradients."""
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for block in forward.blocks(texts):
            parts = forward.losses(block).to("cpu", torch.float64).split([len(piece) for piece in block.pieces])
            found.update((piece.text, part) for piece, part in zip(block.pieces, parts, strict=True))
    return [found[index] for index in range(len(texts))]


def _same(ones: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """Whether each text has the same cost, where `others` are finite: single words may overflow.

    Differences of opposite sign between tokens do not cancel out.
    """

    def apart(one: torch.Tensor, other: torch.Tensor) -> bool:
        finite = torch.isfinite(other)
        return not bool((one - other)[finite].abs().sum() <= TOLERANCE * other[finite].sum())

    return not any(map(apart, ones, others))
