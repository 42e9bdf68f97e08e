"""river's softmax regression over TF-IDF of words, one event at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import feature_extraction, linear_model, optim

from benchmarks.peers.river_rows import rows

OPTIMIZERS = {"sgd": optim.SGD, "adagrad": optim.AdaGrad, "adam": optim.Adam}
SETTINGS: dict[str, Any] = {"together": 1, "optimizer": "sgd", "rate": 3.0, "l2": 0.0, "ngrams": 2}
TRIED = [
    {"optimizer": optimizer, "rate": rate, "ngrams": ngrams}
    for optimizer, rates in (("sgd", (1.0, 3.0, 10.0)), ("adagrad", (0.1, 0.3, 1.0)))
    for rate in rates
    for ngrams in (1, 2)
]


class Learner:
    """TF-IDF over words, then multinomial logistic regression."""

    def __init__(self, labels: list[str], settings: Mapping[str, Any]) -> None:
        self._labels = labels
        optimizer = OPTIMIZERS[settings["optimizer"]](settings["rate"])
        self._words = feature_extraction.TFIDF(ngram_range=(1, settings["ngrams"]))
        self._model = linear_model.SoftmaxRegression(optimizer=optimizer, l2=settings["l2"])

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each label."""
        return rows(self._labels, (self._model.predict_proba_one(self._words.transform_one(text)) for text in texts))

    def learn(self, texts: Sequence[str], targets: Sequence[int]) -> None:
        """Learn `texts` one after the other."""
        for text, target in zip(texts, targets, strict=True):
            self._words.learn_one(text)
            self._model.learn_one(self._words.transform_one(text), self._labels[target])
