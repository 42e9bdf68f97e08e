"""Naive Bayes over n-grams: right after the first few events, and hard to beat on topics.

It only counts, so a single pass over an event is all it needs. It is worth its cost wherever words determine the label,
at the start of a stream and of a new label; it is overconfident, which the mixture corrects.

References
----------
Rennie, J., Shih, L., Teevan, J. and Karger, D. (2003). Tackling the poor assumptions of naive Bayes text classifiers.
ICML: the weights in place of the counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.state import State
from streamlearn.updater.experts.cells import cells, code, load_table, new_table, table_state
from streamlearn.updater.experts.online import LogProbabilities, OnlineExpert, Prepared, log_softmax
from streamlearn.updater.features import Encoded, Feature

SMOOTHING = 0.1
PRIOR = 0.01  # pseudo-count of events of each label


class NaiveBayes(OnlineExpert):
    """Multinomial naive Bayes over the weights of n-grams; see :class:`OnlineExpert` for its parameters."""

    name: ClassVar[str] = "naive_bayes"
    reads: ClassVar[frozenset[Feature]] = frozenset({"ngrams"})

    def __init__(self, config: UpdaterConfig, columns: Sequence[str]) -> None:
        self._codes: list[np.uint64] = []
        self._events: list[float] = []  # by label
        self._totals: list[float] = []  # of weights, by label
        self._different = 0  # number of distinct n-grams seen under any label
        self._weights = new_table()
        super().__init__(config, columns)

    def grow(self, name: str) -> None:
        """Add a column for the label `name`."""
        super().grow(name)
        self._codes.append(code(name))
        self._events.append(0.0)
        self._totals.append(0.0)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`."""
        super().shrink(count)
        for by_label in (self._codes, self._events, self._totals):
            del by_label[count:]

    def _predict(self, encoded: Encoded) -> LogProbabilities:
        prior = np.log(np.asarray(self._events) + PRIOR)
        mass = np.log(np.asarray(self._totals) + SMOOTHING * max(1, self._different))
        logits = np.empty((len(encoded), len(self.columns)))
        for row, ngrams in enumerate(encoded.ngrams or ()):
            likelihood = np.log(self._weights[cells(ngrams.hashes, self._codes)] + SMOOTHING)
            logits[row] = ngrams.weights @ likelihood - ngrams.weights.sum() * mass + prior
        return log_softmax(logits)

    def _learn(self, prepared: Prepared) -> None:
        learnt = zip(prepared.encoded.ngrams or (), prepared.targets, prepared.weights, strict=True)
        for ngrams, column, weight in learnt:
            if not weight:
                continue
            own = cells(ngrams.hashes, self._codes)
            self._different += int((self._weights[own].max(-1, initial=0.0) == 0.0).sum())
            self._weights[own[:, column]] += ngrams.weights * np.float32(weight)
            self._events[column] += float(weight)
            self._totals[column] += float(weight * ngrams.weights.sum())

    def state(self) -> State:
        """Return the counts."""
        counts = {"events": self._events, "totals": self._totals}
        by_label = {name: torch.tensor(values, dtype=torch.float64) for name, values in counts.items()}
        return {**super().state(), **by_label, "different": self._different, "weights": table_state(self._weights)}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        super().load(state)
        self._events, self._totals = state["events"].tolist(), state["totals"].tolist()
        self._different = state["different"]
        load_table(self._weights, state["weights"])
