"""Hashed token n-grams with online TF-IDF: what the linear experts read of a text.

The model's own tokens are counted, singly and in pairs, so that texts are tokenised once for all experts. Hashing is
integer arithmetic over whole arrays (Weinberger et al., 2009, "Feature hashing for large scale multitask learning").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from streamlearn.state import State

HASH_BITS = 20  # a million n-grams: a stream of ten thousand short texts has half as many distinct ones
ONE, FIRST, SECOND = (np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))


@dataclass(frozen=True)
class Ngrams:
    """The n-grams of one text: their hashes, of shape (n-grams,) and below 2²⁰, and their weights, of length 1."""

    hashes: NDArray[np.int64]
    weights: NDArray[np.float32]


class OnlineTfidf:
    """Weights n-grams by how often they occur in a text, and by how few of the texts so far contain them.

    The weight is (1 + log tf) · (log((n + 1) / (1 + df)) + 1), where n counts the texts up to this one and df those of
    them that contain the n-gram; the weights of a text are scaled to length 1.

    Parameters
    ----------
    special
        Ids of special tokens, which are not part of the text.

    Examples
    --------
    >>> tfidf = OnlineTfidf(special=[101, 102])
    >>> (ngrams,) = tfidf.read([np.array([101, 7, 9, 102], dtype=np.int32)])
    >>> len(ngrams.hashes), [round(float(weight), 2) for weight in ngrams.weights]
    (3, [0.58, 0.58, 0.58])

    """

    def __init__(self, special: Sequence[int]) -> None:
        self._special = np.asarray(sorted(special), dtype=np.int32)
        self._texts = 0
        self._having = np.zeros(2**HASH_BITS, dtype=np.int32)

    def read(self, tokens: Sequence[NDArray[np.int32]], *, in_a_row: bool = False) -> list[Ngrams]:
        """Return the n-grams of each text as if it were the next one or, `in_a_row`, followed the texts before it."""
        found, counted = list[Ngrams](), list[NDArray[np.int64]]()
        texts = self._texts
        for ids in tokens:
            hashes, counts = np.unique(hashed(ids[~np.isin(ids, self._special)]), return_counts=True)
            if in_a_row:
                texts = self._texts + len(counted) + 1
                self._having[hashes] += 1
                counted.append(hashes)
                having = self._having[hashes]
            else:
                texts, having = self._texts + 1, self._having[hashes] + 1
            weights = (1.0 + np.log(counts)) * (np.log((texts + 1.0) / (1.0 + having)) + 1.0)
            length = np.sqrt(weights @ weights)
            found.append(Ngrams(hashes, (weights / length if length else weights).astype(np.float32)))
        for hashes in counted:  # read only: nothing is counted before the step is taken
            self._having[hashes] -= 1
        return found

    def take_in(self, texts: Sequence[Ngrams]) -> None:
        """Count `texts`, which :meth:`read` returned."""
        self._texts += len(texts)
        for ngrams in texts:
            self._having[ngrams.hashes] += 1

    def state(self) -> State:
        """Return how many texts there were, and how many of them contained each n-gram."""
        hashes = np.flatnonzero(self._having)
        having = torch.from_numpy(self._having[hashes])
        return {"texts": self._texts, "hashes": torch.from_numpy(hashes), "having": having}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        self._texts = state["texts"]
        self._having[:] = 0
        self._having[state["hashes"].numpy()] = state["having"].numpy()


def hashed(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the hashes of the tokens `ids`, followed by those of adjacent pairs, of shape (2 · tokens − 1,)."""
    whole = ids.astype(np.uint64)
    pairs = whole[:-1] * FIRST + whole[1:] * SECOND
    mixed = np.concatenate([whole, pairs]) * ONE  # Fibonacci hashing: the upper bits are well mixed
    return (mixed >> np.uint64(64 - HASH_BITS)).astype(np.int64)
