"""Recursive least squares on embedded texts: the best linear map from embedding to label, after every event.

It has no learning rate and needs few events, because it solves exactly what others approach by gradient descent: where
the label depends on meaning, it beats the n-gram experts from the start.

References
----------
Haykin, S. (2002). Adaptive Filter Theory, chapter 9: recursive least squares; here without forgetting, a micro-batch at
a time (Woodbury's identity).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.state import State
from streamlearn.updater.experts.online import EmbeddingExpert, LogProbabilities, Prepared, log_softmax
from streamlearn.updater.features import Embedding, Encoded

RIDGE = 10.0  # with 1 it is right on .73 instead of .81 of the first 300 events, and overall better on no stream
SCALE = 0.25  # of √dimensions, by which an embedding of length 1 is scaled before the ridge is added
AT_ONCE = 256  # texts per update: its time grows with the cube of their number
SHARPNESS = 8.0  # factor on the outputs, which are between 0 and 1, in the softmax


class LeastSquares(EmbeddingExpert):
    """Ridge regression of one-hot labels on embeddings; see :class:`OnlineExpert` for its parameters."""

    name: ClassVar[str] = "least_squares"

    def __init__(self, config: UpdaterConfig, columns: Sequence[str]) -> None:
        self._inverse = torch.zeros(0, 0).double()  # (Σ x xᵀ + λ)⁻¹, of shape (inputs, inputs) once these are known
        self._weights = torch.zeros(0, 0).double()  # of shape (inputs, labels)
        super().__init__(config, columns)

    def grow(self, name: str) -> None:
        """Add a column for the label `name`."""
        super().grow(name)
        self._weights = torch.cat([self._weights, self._weights.new_zeros(len(self._weights), 1)], 1)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`."""
        super().shrink(count)
        self._weights = self._weights[:, :count].clone()

    def _predict(self, encoded: Encoded) -> LogProbabilities:
        if not len(self._weights):
            return log_softmax(np.zeros((len(encoded), len(self.columns))))
        return log_softmax(SHARPNESS * (_inputs(encoded.vectors(self.embedding)) @ self._weights).numpy())

    def _learn(self, prepared: Prepared) -> None:
        roots = torch.from_numpy(np.sqrt(prepared.weights))[:, None]
        inputs = _inputs(prepared.encoded.vectors(self.embedding)) * roots
        if not len(self._weights):
            self._inverse = torch.eye(inputs.shape[1]).double() / RIDGE
            self._weights = torch.zeros(inputs.shape[1], len(self.columns)).double()
        wanted = torch.nn.functional.one_hot(torch.tensor(prepared.targets), len(self.columns)) * roots
        for some, their_labels in zip(inputs.split(AT_ONCE), wanted.split(AT_ONCE), strict=True):
            missed = their_labels - some @ self._weights
            spread = some @ self._inverse
            gain = torch.linalg.solve(torch.eye(len(some)).double() + spread @ some.T, spread).T
            self._weights.addmm_(gain, missed)
            self._inverse.addmm_(gain, spread, alpha=-1.0)

    @property
    def finite(self) -> bool:
        """Whether the inverse, on which all further updates depend, is finite."""
        return bool(torch.isfinite(self._inverse).all())

    def state(self) -> State:
        """Return the weights and the inverse."""
        return {**super().state(), "inverse": self._inverse.clone(), "weights": self._weights.clone()}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        super().load(state)
        self._inverse, self._weights = state["inverse"].clone(), state["weights"].clone()


class FrozenLeastSquares(LeastSquares):
    """The same on the frozen model's last layer."""

    name: ClassVar[str] = "frozen_least_squares"
    embedding: ClassVar[Embedding] = "frozen"


class MiddleLeastSquares(LeastSquares):
    """The same on the frozen model's middle layer, which keeps information that the last one has lost, such as tone."""

    name: ClassVar[str] = "middle_least_squares"
    embedding: ClassVar[Embedding] = "middle"


def _inputs(embeddings: NDArray[np.float32]) -> Tensor:
    """Return the scaled embeddings of the texts with a 1 appended, of shape (texts, dimensions + 1) and float64."""
    vectors = torch.from_numpy(embeddings).double()
    return torch.cat([vectors * (SCALE * math.sqrt(vectors.shape[1])), vectors.new_ones(len(vectors), 1)], 1)
