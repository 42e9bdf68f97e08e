"""Embeddings centred by their running mean: what all texts of the stream share says nothing about a label."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from streamlearn.state import State

TINY = 1e-9


class Centring:
    """Subtracts the mean of the embeddings so far from each, and scales the difference to length 1.

    Parameters
    ----------
    dimensions
        Of an embedding.

    Examples
    --------
    >>> centring = Centring(2)
    >>> centring.take_in(np.array([[1.0, 0.0], [1.0, 0.0]]))
    >>> centring.read(np.array([[0.0, 3.0]])).round(2).tolist()
    [[-0.71, 0.71]]

    """

    def __init__(self, dimensions: int) -> None:
        self._texts = 0
        self._sum = np.zeros(dimensions)

    def read(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return `embeddings`, of shape (texts, dimensions), each centred as if it were the next one."""
        unit = scaled(embeddings)
        return scaled(unit - (self._sum + unit) / (self._texts + 1)).astype(np.float32)

    def take_in(self, embeddings: NDArray[np.floating]) -> None:
        """Add `embeddings`, of shape (texts, dimensions), to the running mean."""
        self._sum += scaled(embeddings).sum(0)
        self._texts += len(embeddings)

    def state(self) -> State:
        """Return how many embeddings there were, and their sum."""
        return {"texts": self._texts, "sum": torch.from_numpy(self._sum.copy())}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        self._texts = state["texts"]
        self._sum[:] = state["sum"].numpy()


def scaled(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return `vectors`, of shape (texts, dimensions), scaled to length 1; zero vectors stay 0."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(-1, keepdims=True))
    unit: NDArray[np.float64] = np.where(lengths > TINY, wide / np.maximum(lengths, TINY), 0.0)
    return unit
