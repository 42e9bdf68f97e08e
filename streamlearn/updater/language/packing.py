"""Packing: several documents go through the model in one block, without attending to each other.

Each document has positions of its own, and the mask is block-diagonal, so that every token has the same loss as if its
document went alone. So packing affects only the time that a step takes, not what it learns. All texts of a step are
packed and none is left over for the next one: unlike with a stream of documents cut into blocks of equal length, the
last block is merely shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from streamlearn.updater.language.documents import Piece


@dataclass(frozen=True)
class Block:
    """Pieces that go through the model together.

    ``input_ids``, ``position_ids`` are of shape (1, tokens), ``targets`` of shape (tokens,). ``mask`` is added to the
    attention scores, of shape (1, 1, tokens, tokens); None for a single piece, which needs no mask.
    """

    pieces: Sequence[Piece]
    input_ids: Tensor
    position_ids: Tensor
    targets: Tensor
    mask: Tensor | None


def pack(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return the indices of the documents in each block of at most `most` tokens, by first fit decreasing.

    It takes at most 11/9 of the minimum number of blocks plus one [1]_. A longer document gets its own block.

    Examples
    --------
    >>> pack([3, 8, 2, 5, 9], most=10)
    [[4], [1, 2], [3, 0]]

    References
    ----------
    .. [1] Johnson, D. S. (1973). Near-optimal bin packing algorithms. Massachusetts Institute of Technology.

    """
    blocks: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        found = next((block for block, left in enumerate(room) if lengths[index] <= left), None)
        if found is None:
            blocks.append([])
            room.append(most)
            found = len(blocks) - 1
        blocks[found].append(index)
        room[found] -= lengths[index]
    return blocks


def make_block(pieces: Sequence[Piece], device: torch.device) -> Block:
    """Lay `pieces` side by side, on `device`."""
    lengths = [len(piece) for piece in pieces]
    document = np.repeat(np.arange(len(pieces)), lengths)
    positions = np.concatenate([np.arange(length) for length in lengths])
    mask = None
    if len(pieces) > 1:
        seen = (document[:, None] == document) & (positions[:, None] >= positions)
        hidden = np.where(seen, np.float32(0), np.finfo(np.float32).min)
        mask = torch.from_numpy(hidden)[None, None].to(device)
    context = np.concatenate([piece.context for piece in pieces]).astype(np.int64)
    targets = np.concatenate([piece.targets for piece in pieces]).astype(np.int64)
    return Block(
        pieces=pieces,
        input_ids=torch.from_numpy(context)[None].to(device),
        position_ids=torch.from_numpy(positions.astype(np.int64))[None].to(device),
        targets=torch.from_numpy(targets).to(device),
        mask=mask,
    )
