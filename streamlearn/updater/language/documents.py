"""Turns the token ids of texts into documents: contexts and targets, with long texts split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Piece:
    """A part of a text that goes through the model as one document.

    ``context`` and ``targets`` are of shape (tokens,): each target is predicted from the context up to its own
    position.
    """

    text: int
    context: Tokens
    targets: Tokens

    def __len__(self) -> int:
        return len(self.targets)


def pieces_of(texts: Sequence[Tokens], *, start: int, end: int, most: int) -> list[Piece]:
    """Return the pieces of `texts`, in order, in which each token, and the end, is predicted exactly once.

    A text begins with the token `start`, so that its first token is predicted, too, and ends with `end`. One of more
    than `most` tokens becomes several pieces; a piece begins with the last token of the one before it.

    Examples
    --------
    >>> first, second = pieces_of([np.array([5, 6, 7], np.int32)], start=1, end=2, most=3)
    >>> first.context.tolist(), first.targets.tolist()
    ([1, 5, 6], [5, 6, 7])
    >>> second.context.tolist(), second.targets.tolist()
    ([7], [2])

    """
    pieces = []
    for index, tokens in enumerate(texts):
        whole = np.concatenate([[start], tokens, [end]]).astype(np.int32)
        for begin in range(0, len(whole) - 1, most):
            cut = whole[begin : begin + most + 1]
            pieces.append(Piece(index, cut[:-1], cut[1:]))
    return pieces
