"""The transformer's pooled state of a text, taken from the forward pass that it makes anyway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def tapped(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Record the inputs of `layer` while the context lasts, detached from the graph."""
    fed: list[Tensor] = []
    tap = layer.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0].detach()))
    try:
        yield fed
    finally:
        tap.remove()


def pool(fed: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the state of each text from the input of the output layer, of shape (texts, hidden) and float32.

    Each architecture pools in its own way, and most have done so before the output layer: after a pooler (BERT), a
    dense layer (RoBERTa, DistilBERT) or a mean. Decoders feed it the states of all tokens, of shape (texts, tokens,
    hidden), and read the label from the last token that is not padding; so the state of that token is returned.

    Parameters
    ----------
    fed
        The input of the output layer.
    attention_mask
        1 for tokens and 0 for padding, of shape (texts, tokens).

    """
    if fed.ndim == attention_mask.ndim:
        return fed.float()
    last = (attention_mask * torch.arange(attention_mask.shape[1], device=attention_mask.device)).argmax(-1)
    return fed[torch.arange(len(fed), device=fed.device), last].float()
