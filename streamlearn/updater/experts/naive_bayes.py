"""Naive Bayes over n-grams: right after the first few events, and hard to beat on topics.

It counts, so it has learnt an event as well at once as it ever will. It is worth its cost wherever words tell the
label, at the beginning of a stream and of a new label; it is surer of itself than it should be, which the mixture
corrects.

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
PRIOR = 0.01  # events of each label before the first one


class NaiveBayes(OnlineExpert):
    """Multinomial naive Bayes over the weights of n-grams; see :class:`OnlineExpert` for its parameters."""

    name: ClassVar[str] = "naive_bayes"
    reads: ClassVar[frozenset[Feature]] = frozenset({"ngrams"})

    def __init__(self, config: UpdaterConfig, columns: Sequence[str]) -> None:
        self._codes: list[np.uint64] = []
        self._events: list[float] = []  # by label
        self._totals: list[float] = []  # of weights, by label
        self._different = 0  # n-grams that any label has
        self._weights = new_table()
        super().__init__(config, columns)

    def grow(self, name: str) -> None:
        """Give the label `name` a column."""
        super().grow(name)
        self._codes.append(code(name))
        self._events.append(0.0)
        self._totals.append(0.0)

    def shrink(self, count: int) -> None:
        """Take back the columns after the first `count`."""
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
