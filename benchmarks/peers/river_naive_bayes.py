"""river's TF-IDF and multinomial naive Bayes: what its own documentation classifies text with, one event at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import feature_extraction, naive_bayes

from benchmarks.peers.river_rows import rows

SETTINGS: dict[str, Any] = {"together": 1, "alpha": 0.1, "ngrams": 1}
TRIED = [{"alpha": alpha, "ngrams": ngrams} for alpha in (0.01, 0.03, 0.1, 0.3, 1.0) for ngrams in (1, 2)]


class Learner:
    """TF-IDF over words, then multinomial naive Bayes."""

    def __init__(self, labels: list[str], settings: Mapping[str, Any]) -> None:
        self._labels = labels
        words = feature_extraction.TFIDF(ngram_range=(1, settings["ngrams"]))
        self._model: Any = words | naive_bayes.MultinomialNB(alpha=settings["alpha"])

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each label."""
        return rows(self._labels, map(self._model.predict_proba_one, texts))

    def learn(self, texts: Sequence[str], targets: Sequence[int]) -> None:
        """Learn `texts` one after the other."""
        for text, target in zip(texts, targets, strict=True):
            self._model.learn_one(text, self._labels[target])
