"""The mean of each label's recent texts: a text gets the label of the most similar mean.

One text of a label is enough to start, and the mean of a few is more reliable than any of them: the first expert to be
right on a new stream, and after a switch, because the last hundred events make up half of each mean.

References
----------
Mensink, T., Verbeek, J., Perronnin, F. and Csurka, G. (2013). Distance-based image classification: generalizing to new
classes at near-zero cost. TPAMI 35: nearest class mean. Snell, J., Swersky, K. and Zemel, R. (2017). Prototypical
networks for few-shot learning. NeurIPS: the softmax over the means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.state import State
from streamlearn.updater.centring import scaled
from streamlearn.updater.experts.online import EmbeddingExpert, LogProbabilities, Prepared, log_softmax
from streamlearn.updater.features import Embedding, Encoded

TEMPERATURE = 0.1
HALF_LIFE = 100.0  # events, of any label


class RecentMeans(EmbeddingExpert):
    """A softmax over cosine similarity / 0.1 to the means; the weight of an event halves after a hundred others.

    The embeddings are not centred: after few events, their overall mean would be that of a few labels. See
    :class:`OnlineExpert` for its parameters.
    """

    name: ClassVar[str] = "recent_means"

    def __init__(self, config: UpdaterConfig, columns: Sequence[str]) -> None:
        self._seen = 0
        self._sums = np.zeros((0, 0))  # of unit embeddings, of shape (labels, dimensions) once these are known
        self._last: list[int] = []  # how many events had been seen when each label's sum was last added to
        super().__init__(config, columns)

    def grow(self, name: str) -> None:
        """Add a column for the label `name`."""
        super().grow(name)
        self._sums = np.concatenate([self._sums, np.zeros((1, self._sums.shape[1]))])
        self._last.append(0)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`."""
        super().shrink(count)
        self._sums, self._last = self._sums[:count], self._last[:count]

    def _predict(self, encoded: Encoded) -> LogProbabilities:
        if not self._seen:
            return log_softmax(np.zeros((len(encoded), len(self.columns))))
        return log_softmax(self._unit(encoded) @ scaled(self._sums).T / TEMPERATURE)

    def _learn(self, prepared: Prepared) -> None:
        vectors = self._unit(prepared.encoded)
        if not self._sums.size:
            self._sums = np.zeros((len(self.columns), vectors.shape[1]))
        for vector, column, weight in zip(vectors, prepared.targets, prepared.weights, strict=True):
            if weight:
                self._seen += 1
                left = 0.5 ** ((self._seen - self._last[column]) / HALF_LIFE)
                self._sums[column] = left * self._sums[column] + weight * vector
                self._last[column] = self._seen

    def _unit(self, encoded: Encoded) -> NDArray[np.float64]:
        return scaled(encoded.uncentred[self.embedding])

    def state(self) -> State:
        """Return the sums, and when each was last updated."""
        sums, last = torch.from_numpy(self._sums.copy()), torch.tensor(self._last, dtype=torch.int64)
        return {**super().state(), "seen": self._seen, "sums": sums, "last": last}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        super().load(state)
        self._seen, self._last = state["seen"], state["last"].tolist()
        self._sums = state["sums"].numpy().copy()


class FrozenRecentMeans(RecentMeans):
    """The same in the frozen model's embeddings."""

    name: ClassVar[str] = "frozen_recent_means"
    embedding: ClassVar[Embedding] = "frozen"
