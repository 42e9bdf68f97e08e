"""scikit-learn out of core: hashed words and pairs of words, then logistic regression by stochastic gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier

SETTINGS: dict[str, Any] = {
    "together": 4,  # each call goes once over all hashes: one text at a time it takes four times as long
    "ngrams": 2,
    "hashes": 2**18,
    "stop_words": "english",
    "alpha": 1e-6,
    "learning_rate": "constant",
    "eta0": 5.0,
    "average": False,
}
TRIED = [
    *({"alpha": alpha, "learning_rate": "optimal"} for alpha in (1e-6, 1e-5, 1e-4)),
    *({"alpha": alpha, "eta0": eta0} for alpha in (1e-6, 1e-5) for eta0 in (3.0, 5.0, 10.0, 30.0)),
    *({"stop_words": None, "eta0": eta0, "ngrams": ngrams} for eta0 in (3.0, 5.0, 10.0) for ngrams in (1, 2)),
    {"learning_rate": "invscaling", "eta0": 30.0},
    {"average": True},
]


class Learner:
    """HashingVectorizer and SGDClassifier with the logistic loss, one class against the rest."""

    def __init__(self, labels: list[str], settings: Mapping[str, Any]) -> None:
        self._classes = np.arange(len(labels))
        self._words = HashingVectorizer(
            ngram_range=(1, settings["ngrams"]), n_features=settings["hashes"], stop_words=settings["stop_words"]
        )
        self._model = SGDClassifier(
            loss="log_loss",
            alpha=settings["alpha"],
            learning_rate=settings["learning_rate"],
            eta0=max(settings["eta0"], 1e-9),  # which 'optimal' does not read, but must be given
            average=settings["average"],
            random_state=0,
        )
        self._learnt = False

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each label; alike before anything has been learnt."""
        if not self._learnt:
            return np.full((len(texts), len(self._classes)), 1.0 / len(self._classes))
        scores = self._model.decision_function(self._words.transform(texts))
        if scores.ndim == 1:  # of two labels, that of the second one
            scores = np.stack([-scores, scores], -1)
        shares = 1.0 / (1.0 + np.exp(-np.clip(scores, -500.0, 500.0)))
        sums: NDArray[np.float64] = shares.sum(-1, keepdims=True)
        return np.where(sums > 0, shares / np.where(sums > 0, sums, 1.0), 1.0 / len(self._classes))

    def learn(self, texts: Sequence[str], targets: Sequence[int]) -> None:
        """Learn `texts` in one call, which takes them one after the other."""
        self._model.partial_fit(self._words.transform(texts), np.asarray(targets), classes=self._classes)
        self._learnt = True
