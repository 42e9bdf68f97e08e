"""The static embedding of a text: the mean of its tokens' embeddings, without a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.state import State
from streamlearn.updater.centring import scaled


class StaticEmbedding:
    """Embeds texts by the idf-weighted mean of the model's initial token embeddings.

    The weighting, and the centring that follows it, are those of Arora, Liang and Ma (2017), "A simple but
    tough-to-beat baseline for sentence embeddings", with the mean in place of the first principal component.

    Parameters
    ----------
    embeddings
        The token embeddings, of shape (vocabulary, dimensions); they are not changed here and must not change
        elsewhere.
    special
        Ids of special tokens, which are not part of the text.

    """

    def __init__(self, embeddings: Tensor, special: Sequence[int]) -> None:
        self.begin_with(embeddings)
        self._special = np.asarray(sorted(special), dtype=np.int32)
        vocabulary, self.dimensions = self._embeddings.shape
        self._texts = 0
        self._having = np.zeros(vocabulary, dtype=np.int32)

    def begin_with(self, embeddings: Tensor) -> None:
        """Replace the token embeddings by those that a model started with, of shape (vocabulary, dimensions)."""
        self._embeddings = embeddings.detach().to("cpu", torch.float32).numpy()

    def read(self, tokens: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        """Return the embedding of each text, of shape (texts, dimensions) and length 1, or 0 for an empty text."""
        raw = np.zeros((len(tokens), self.dimensions))
        for row, ids in enumerate(tokens):
            different, counts = np.unique(ids[~np.isin(ids, self._special)], return_counts=True)
            rarity = np.log((self._texts + 2.0) / (2.0 + self._having[different])) + 1.0
            raw[row] = ((1.0 + np.log(counts)) * rarity) @ self._embeddings[different]
        return scaled(raw)

    def take_in(self, tokens: Sequence[NDArray[np.int32]]) -> None:
        """Count the texts, one after the other."""
        self._texts += len(tokens)
        for ids in tokens:
            self._having[np.unique(ids)] += 1

    def state(self) -> State:
        """Return the number of texts, and how many of them contained each token."""
        return {"texts": self._texts, "having": torch.from_numpy(self._having.copy())}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        self._texts = state["texts"]
        self._having[:] = state["having"].numpy()
