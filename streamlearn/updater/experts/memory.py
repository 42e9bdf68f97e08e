"""A memory of embedded events: a text gets the label of the most similar texts, above all of recent ones.

It learns an event as soon as it has seen it, and forgets the old distribution just as fast: the strongest expert after
a switch. The larger memory, which forgets only what no longer fits, is the strongest when an old distribution comes
back.

References
----------
Losing, V., Hammer, B. and Wersing, H. (2016). KNN classifier with self adjusting memory for heterogeneous concept
drift. ICDM: one memory for the short term and one for the long. The kernel is a softmax over cosines (Wu et al., 2018,
"Improving generalization via scalable neighborhood component analysis").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.state import State
from streamlearn.updater.experts.online import EmbeddingExpert, LogProbabilities, Prepared
from streamlearn.updater.features import Embedding, Encoded

TEMPERATURE = 0.05
FLOOR = 1e-6  # of each label's votes
AT_ONCE = 256  # texts compared with the whole memory at once, which bounds the space that it takes


class Memory(EmbeddingExpert):
    """Each remembered event votes for its label with the weight exp((cosine − 1) / 0.05) · 2^(−age / half-life).

    See :class:`OnlineExpert` for its parameters.

    Attributes
    ----------
    events
        How many events are remembered; a new one replaces the oldest.
    half_life
        The age, in events, at which a vote counts half; infinite if age does not count.

    """

    events: ClassVar[int]
    half_life: ClassVar[float]

    def __init__(self, config: UpdaterConfig, columns: Sequence[str]) -> None:
        self._seen = 0
        self._vectors = np.zeros((0, 0), dtype=np.float32)  # of shape (events, dimensions) once these are known
        self._labels = np.zeros(self.events, dtype=np.int64)
        self._weights = np.zeros(self.events)
        super().__init__(config, columns)

    @property
    def _known(self) -> int:
        return min(self._seen, self.events)

    def _predict(self, encoded: Encoded) -> LogProbabilities:
        votes = np.full((len(encoded), len(self.columns)), FLOOR)
        known = self._known
        if known:
            remembered, vectors = torch.from_numpy(self._vectors[:known]), encoded.vectors(self.embedding)
            ages = (self._seen - 1 - np.arange(known)) % self.events
            loudness = self._weights[:known] * np.exp2(-ages / self.half_life)
            for first in range(0, len(vectors), AT_ONCE):
                some = torch.from_numpy(vectors[first : first + AT_ONCE])
                cosines = (some @ remembered.T).numpy().astype(np.float64)
                for row, voices in enumerate(np.exp((cosines - 1.0) / TEMPERATURE) * loudness, first):
                    votes[row] += np.bincount(self._labels[:known], voices, len(self.columns))
        shares: LogProbabilities = np.log(votes / votes.sum(-1, keepdims=True))
        return shares

    def _learn(self, prepared: Prepared) -> None:
        vectors = prepared.encoded.vectors(self.embedding)
        if not self._vectors.size:
            self._vectors = np.zeros((self.events, vectors.shape[1]), dtype=np.float32)
        for vector, column, weight in zip(vectors, prepared.targets, prepared.weights, strict=True):
            if weight:
                slot = self._seen % self.events
                self._vectors[slot], self._labels[slot], self._weights[slot] = vector, column, weight
                self._seen += 1

    def state(self) -> State:
        """Return the remembered events."""
        kept = {name: array[: self._known].copy() for name, array in self._arrays().items()}
        return {**super().state(), "seen": self._seen, **{name: torch.from_numpy(kept[name]) for name in kept}}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        super().load(state)
        self._seen = state["seen"]
        self._vectors = np.zeros((self.events, state["vectors"].shape[1]), dtype=np.float32)
        for name, array in self._arrays().items():
            array[: self._known] = state[name].numpy()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"vectors": self._vectors, "labels": self._labels, "weights": self._weights}


class RecentMemory(Memory):
    """The last two thousand events, the last hundred of which count most: the first to be right after a switch."""

    name: ClassVar[str] = "recent_memory"
    events: ClassVar[int] = 2_000
    half_life: ClassVar[float] = 100.0


class LongMemory(Memory):
    """The last ten thousand events, all weighted equally: still there when an old distribution comes back."""

    name: ClassVar[str] = "long_memory"
    events: ClassVar[int] = 10_000
    half_life: ClassVar[float] = math.inf


class FrozenRecentMemory(RecentMemory):
    """The same in the frozen model's embeddings, where texts of similar meaning are close together."""

    name: ClassVar[str] = "frozen_recent_memory"
    embedding: ClassVar[Embedding] = "frozen"


class FrozenLongMemory(LongMemory):
    """The same in the frozen model's embeddings."""

    name: ClassVar[str] = "frozen_long_memory"
    embedding: ClassVar[Embedding] = "frozen"
