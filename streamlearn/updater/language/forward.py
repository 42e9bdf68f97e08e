"""Runs texts through a causal language model, packed into blocks or one by one, and returns the cost of each."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its name in the field
from torch import Tensor
from transformers import PreTrainedModel

from streamlearn.updater.language.documents import Piece, Tokens, pieces_of
from streamlearn.updater.language.packing import Block, make_block, pack

DEVICE_BLOCK = 4096  # tokens: their logits over 50,000 words take 0.8 GB, and as much again with their gradient


@dataclass(frozen=True)
class Ends:
    """The tokens with which each text begins and ends."""

    start: int
    end: int


class Forward:
    """A model, and how texts are laid out for it.

    Parameters
    ----------
    model
        A causal language model, on `device`.
    ends
        What texts begin and end with.
    most
        The most tokens of a document; a longer text is split.
    device
        Where the model is.
    autocast
        Whether it runs in bfloat16.

    Attributes
    ----------
    model
        As given.
    packs
        Whether several documents can share a block.
    device, autocast
        As given.

    """

    def __init__(
        self, model: PreTrainedModel, ends: Ends, *, most: int, device: torch.device, autocast: bool = False
    ) -> None:
        self.packs = True
        self.model, self._ends, self._most = model, ends, most
        self.device, self.autocast = device, autocast

    def pieces(self, texts: Sequence[Tokens]) -> list[Piece]:
        """Return the documents that `texts` become."""
        return pieces_of(texts, start=self._ends.start, end=self._ends.end, most=self._most)

    def blocks(self, texts: Sequence[Tokens]) -> Iterator[Block]:
        """Yield all of `texts` in blocks."""
        pieces = self.pieces(texts)
        most = self._most if self.device.type == "cpu" else max(self._most, DEVICE_BLOCK)
        rows = pack([len(piece) for piece in pieces], most) if self.packs else [[row] for row in range(len(pieces))]
        for block in rows:
            yield make_block([pieces[row] for row in block], self.device)

    def logits(self, block: Block) -> Tensor:
        """Return the logits at each position of `block`, of shape (tokens, vocabulary), float32."""
        beside = {} if block.mask is None else {"attention_mask": block.mask, "position_ids": block.position_ids}
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits: Tensor = self.model(input_ids=block.input_ids, use_cache=False, **beside).logits[0]
        return logits.float()

    def losses(self, block: Block) -> Tensor:
        """Return the loss −log p of each target of `block` in nats, of shape (tokens,)."""
        return losses(self.logits(block), block)

    def of(self, model: PreTrainedModel) -> Forward:
        """Return a forward pass through `model`, a copy of this one's."""
        other = copy.copy(self)
        other.model = model
        return other

    def nats(self, texts: Sequence[Tokens]) -> Tensor:
        """Return the cost of each of `texts` in nats, of shape (texts,), float64, without gradients."""
        found = torch.zeros(len(texts), dtype=torch.float64)
        with torch.no_grad():
            for block in self.blocks(texts):
                add_up(found, block, self.losses(block))
        return found

    def counts(self, texts: Sequence[Tokens]) -> list[int]:
        """Return how many tokens of each of `texts` are predicted, the end included."""
        return [len(text) + 1 for text in texts]


def losses(logits: Tensor, block: Block) -> Tensor:
    """Return the loss −log p of each target of `block` in nats, of shape (tokens,), where these are its `logits`."""
    return F.cross_entropy(logits, block.targets, reduction="none")


def add_up(nats: Tensor, block: Block, losses: Tensor) -> None:
    """Add the `losses` of `block` to the costs of its texts, `nats` of shape (texts,), always in the same order."""
    parts = losses.detach().to("cpu", torch.float64).split([len(piece) for piece in block.pieces])
    for piece, part in zip(block.pieces, parts, strict=True):
        nats[piece.text] += part.sum()
