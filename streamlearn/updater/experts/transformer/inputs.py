"""Finds out which inputs a model takes besides token ids, and where padding has no effect, by trying a few texts.

A published model is served text by text, without padding and with all outputs of its tokenizer. A micro-batch must give
the same results. Which side may be padded differs (XLNet reads the last token, absolute positions count from the
first), some models read padding despite the mask, and no configuration says so. So it is tried: the logits of a short
text must be the same alone and together with a long one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.transformer.batches import Companion, Layout, collate, inputs
from streamlearn.updater.experts.transformer.head import output_layer
from streamlearn.updater.experts.transformer.tokenizer import known_words
from streamlearn.updater.experts.transformer.trainable import embedding_rows

SHORT_WORDS = 3
TOLERANCE = 1e-4
"""Tolerance for equal logits, relative to the largest: float32 differs by 1e-6, a wrong padding side by 0.01."""

log = logging.getLogger(__name__)


def find_layout(model: PreTrainedModel, tokenizer: Any, max_tokens: int) -> Layout:
    """Return how texts of up to `max_tokens` tokens are laid out for `model`, without changing its θ and mode.

    The tokenizer's ``padding_side`` and ``model_input_names`` are set to what was found, so that a published snapshot
    says the same.

    Raises
    ------
    ConfigurationError
        If texts of that length are too long for the model.
    ValueError
        If model and tokenizer do not match.

    """
    training, last = model.training, output_layer(model)[2].weight
    kept = last.detach().clone()
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            last.normal_(generator=torch.Generator().manual_seed(0))  # a head of zeros would show no difference
            return _find(model, tokenizer, max_tokens)
    finally:
        with torch.no_grad():
            last.copy_(kept)
        model.train(training)


def probe_texts(tokenizer: Any, max_tokens: int) -> list[str]:
    """Return a short text and one that fills `max_tokens`, of words that the tokenizer knows."""
    words = known_words(tokenizer)
    every = " ".join(words)
    repeats = 1 + max_tokens // max(1, len(words))
    return [" ".join(words[:SHORT_WORDS]), " ".join([every] * repeats)]


def _find(model: PreTrainedModel, tokenizer: Any, max_tokens: int) -> Layout:
    texts = probe_texts(tokenizer, max_tokens)
    encoded = tokenizer(texts, truncation=True, max_length=max_tokens)
    short, long = (np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"])
    layout = Layout(
        padding=tokenizer.pad_token_id,
        side="none",
        mask="attention_mask" in encoded,
        companions=tuple(_companions(tokenizer, encoded)),
    )
    layout, alone = _accepted(model, tokenizer, layout, short)
    if not _same(_logits(model, layout, [short]), alone):
        raise ValueError("it gives different predictions for the same text, so none could be repeated")
    _look_at_vocabulary(model, tokenizer, layout, short)
    long_alone = _look_at_length(model, layout, long, max_tokens)
    if torch.equal(alone, long_alone) and short.tolist() != long.tolist():
        raise ValueError("its predictions do not depend on the text")
    layout = _without_idle_companions(model, layout, short, alone)
    expected = torch.cat([alone, long_alone])
    for side in dict.fromkeys([tokenizer.padding_side, "right", "left"]):
        tried = Layout(layout.padding, side, layout.mask, layout.companions)
        if _same(_logits(model, tried, [short, long]), expected):
            tokenizer.padding_side = side
            return tried
    log.warning(
        "updater.model: padding changes what it predicts, so only texts with the same number of tokens go through it "
        "together, which takes longer"
    )
    return layout


def _companions(tokenizer: Any, encoded: Any) -> Iterator[Companion]:
    """Yield the tokenizer's other outputs as a rule of where a token stands, found on a short and a long text."""
    for name in encoded:
        if name in ("input_ids", "attention_mask"):
            continue
        short, long = (list(values) for values in encoded[name])
        middle = long[len(long) // 2]
        first, last = _run(long, middle), _run(long[::-1], middle)[::-1]
        padding = tokenizer.pad_token_type_id if name == "token_type_ids" else 0
        companion = Companion(name, first, middle, last, padding)
        if any(companion.values(len(values)).tolist() != values for values in (short, long)):
            raise ValueError(f"its tokenizer gives '{name}' that depend on more than where a token stands")
        yield companion


def _run(values: Sequence[int], middle: int) -> tuple[int, ...]:
    """Return the values before the first `middle`."""
    return tuple(values[: list(values).index(middle)])


def _accepted(
    model: PreTrainedModel, tokenizer: Any, layout: Layout, short: NDArray[np.int32]
) -> tuple[Layout, Tensor]:
    """Return the layout with the most inputs that the model accepts, and its logits; limit the tokenizer to it."""
    companions = layout.companions
    fewer = [
        layout,
        *(Layout(layout.padding, "none", layout.mask, tuple(o for o in companions if o is not c)) for c in companions),
        Layout(layout.padding, "none", layout.mask),
        Layout(layout.padding, "none", mask=False),
    ]
    failure: Exception | None = None
    for tried in fewer:
        try:
            logits = _logits(model, tried, [short])
        except Exception as error:  # noqa: BLE001 - whatever a model raises for an input that it does not know
            failure = failure or error
            continue
        names = {"input_ids", *(["attention_mask"] if tried.mask else []), *(c.name for c in tried.companions)}
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in names]
        return tried, logits
    assert failure  # noqa: S101 - for the type checker: there is at least one layout
    _raise_for_rows(model, tokenizer, int(short.max()))
    raise failure


def _without_idle_companions(
    model: PreTrainedModel, layout: Layout, short: NDArray[np.int32], expected: Tensor
) -> Layout:
    """Leave out inputs that are 0 for every token if that changes no bit, such as BERT's token types."""
    idle = [c for c in layout.companions if not any((*c.first, c.middle, *c.last))]
    if not idle:
        return layout
    fewer = Layout(layout.padding, layout.side, layout.mask, tuple(c for c in layout.companions if c not in idle))
    return fewer if torch.equal(_logits(model, fewer, [short]), expected) else layout


def _look_at_vocabulary(model: PreTrainedModel, tokenizer: Any, layout: Layout, short: NDArray[np.int32]) -> None:
    highest = max(tokenizer.get_vocab().values())
    for identifier in (highest, layout.padding):
        ids = short.copy()
        ids[len(ids) // 2] = identifier
        try:
            _logits(model, layout, [ids])
        except Exception:
            _raise_for_rows(model, tokenizer, identifier)
            raise


def _raise_for_rows(model: PreTrainedModel, tokenizer: Any, identifier: int) -> None:
    """Raise an error if the token `identifier`, on which `model` raises, has no embedding."""
    rows = embedding_rows(model)
    if rows is not None and identifier >= rows:
        raise ValueError(
            f"its tokenizer has {max(tokenizer.get_vocab().values()) + 1} tokens, but the model has embeddings for "
            f"{rows} only; the two are not of one model"
        ) from None


def _look_at_length(model: PreTrainedModel, layout: Layout, long: NDArray[np.int32], max_tokens: int) -> Tensor:
    """Return the logits of a text of the maximum length."""
    try:
        return _logits(model, layout, [long])
    except Exception:
        longest = _longest(model, layout, long)
        if not longest:
            raise
        raise ConfigurationError(
            f"updater.max_tokens is {max_tokens}, but the model reads at most {longest} tokens; "
            f"set it to {longest} or less"
        ) from None


def _longest(model: PreTrainedModel, layout: Layout, long: NDArray[np.int32]) -> int:
    """Return how many tokens of `long` the model can read."""
    reads, fails = 0, len(long)
    while fails - reads > 1:
        tried = (reads + fails) // 2
        try:
            _logits(model, layout, [np.concatenate([long[: tried - 1], long[-1:]])])
        except Exception:  # noqa: BLE001 - only whether it raises is asked
            fails = tried
        else:
            reads = tried
    return reads


def _logits(model: PreTrainedModel, layout: Layout, tokens: list[NDArray[np.int32]]) -> Tensor:
    """Return the logits of `tokens` in as few parts as possible, of shape (texts, columns)."""
    parts = collate(tokens, layout, device=torch.device("cpu"), overhead=10**9)
    columns = output_layer(model)[2].out_features
    logits = torch.empty(len(tokens), columns)
    for part in parts:
        given = model(**inputs(part, layout)).logits
        if given.shape != (len(part.rows), columns):
            raise ValueError(f"it gives logits of shape {tuple(given.shape)} for {len(part.rows)} texts")
        logits[part.rows] = given
    return logits


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether the logits are the same, where `other` is finite: single words may overflow."""
    finite = torch.isfinite(other)
    if not bool(finite.any()):
        return True
    one, other = one[finite], other[finite]
    return bool(((one - other).abs() <= TOLERANCE * float(other.abs().max()) + 1e-7).all())
