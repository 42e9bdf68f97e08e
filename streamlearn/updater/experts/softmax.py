"""Softmax regression over n-grams with a learning rate per weight: an online linear classifier.

It learns from its mistakes, so that it weighs words against one another, which naive Bayes treats independently. It is
worth its cost once there are enough events, and a rare word keeps a high rate until it is seen.

References
----------
Duchi, J., Hazan, E. and Singer, Y. (2011). Adaptive subgradient methods for online learning and stochastic
optimization. JMLR 12: AdaGrad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.state import State
from streamlearn.updater.experts.cells import cells, code, load_table, new_table, table_state
from streamlearn.updater.experts.online import LogProbabilities, OnlineExpert, Prepared, log_softmax
from streamlearn.updater.features import Encoded, Feature

RATE = 0.5
BIAS_RATE = 0.05  # a tenth: the bias has a gradient for every event
SQUARES = 1e-3  # initial value of each accumulator


class AdaGradSoftmax(OnlineExpert):
    """Multinomial logistic regression by AdaGrad; see :class:`OnlineExpert` for its parameters."""

    name: ClassVar[str] = "softmax"
    reads: ClassVar[frozenset[Feature]] = frozenset({"ngrams"})

    def __init__(self, config: UpdaterConfig, columns: Sequence[str]) -> None:
        self._codes: list[np.uint64] = []
        self._biases = np.zeros((2, 0))  # each label's bias, and the squares of its gradients
        self._weights, self._squares = new_table(), new_table()
        super().__init__(config, columns)

    def grow(self, name: str) -> None:
        """Add a column for the label `name`."""
        super().grow(name)
        self._codes.append(code(name))
        self._biases = np.concatenate([self._biases, [[0.0], [SQUARES]]], axis=1)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`."""
        super().shrink(count)
        del self._codes[count:]
        self._biases = self._biases[:, :count]

    def _predict(self, encoded: Encoded) -> LogProbabilities:
        rows = [ngrams.weights @ self._weights[cells(ngrams.hashes, self._codes)] for ngrams in encoded.ngrams or ()]
        return log_softmax(np.asarray(rows, dtype=np.float64) + self._biases[0])

    def _learn(self, prepared: Prepared) -> None:
        slopes: NDArray[np.float64] = prepared.log_probabilities.exp().numpy()
        slopes[range(len(slopes)), prepared.targets] -= 1.0
        slopes *= prepared.weights[:, None]
        for ngrams, slope in zip(prepared.encoded.ngrams or (), slopes, strict=True):
            if not slope.any():
                continue
            own = cells(ngrams.hashes, self._codes)
            gradient = ngrams.weights[:, None] * slope.astype(np.float32)
            squares = self._squares[own] + gradient * gradient
            self._squares[own] = squares
            self._weights[own] -= RATE * gradient / np.sqrt(squares + SQUARES)
            self._biases[1] += slope * slope
            self._biases[0] -= BIAS_RATE * slope / np.sqrt(self._biases[1])

    def state(self) -> State:
        """Return the weights, the biases and the squares of their gradients."""
        tables = {"weights": table_state(self._weights), "squares": table_state(self._squares)}
        return {**super().state(), **tables, "biases": torch.from_numpy(self._biases.copy())}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        super().load(state)
        load_table(self._weights, state["weights"])
        load_table(self._squares, state["squares"])
        self._biases = state["biases"].numpy().copy()
