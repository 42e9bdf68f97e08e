"""Vowpal Wabbit: one class against all over hashed words and pairs of words, with its own adaptive rates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import vowpalwabbit
from numpy.typing import NDArray

WORDS = re.compile(r"\w+|[^\w\s]")
SETTINGS: dict[str, Any] = {"together": 1, "bits": 22, "ngrams": 2, "rate": 3.0, "power_t": 0.5, "l2": 0.0}
TRIED = [
    {"ngrams": ngrams, "rate": rate, "power_t": power_t}
    for ngrams in (1, 2)
    for rate in (0.5, 1.0, 3.0, 10.0)
    for power_t in (0.25, 0.5, 1.0)
]


class Learner:
    """``--oaa`` with probabilities; words are cut as it is usual for it, in small letters, punctuation apart."""

    def __init__(self, labels: list[str], settings: Mapping[str, Any]) -> None:
        self._model = vowpalwabbit.Workspace(
            f"--oaa {len(labels)} --probabilities --loss_function logistic --ngram {settings['ngrams']} "
            f"-b {settings['bits']} -l {settings['rate']} --power_t {settings['power_t']} --l2 {settings['l2']} "
            "--random_seed 0 --quiet"
        )

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each label."""
        found = np.asarray([self._model.predict(_line(text)) for text in texts], dtype=np.float64)
        shares: NDArray[np.float64] = found / found.sum(-1, keepdims=True)
        return shares

    def learn(self, texts: Sequence[str], targets: Sequence[int]) -> None:
        """Learn `texts` one after the other."""
        for text, target in zip(texts, targets, strict=True):
            self._model.learn(f"{target + 1} {_line(text)}")


def _line(text: str) -> str:
    """Return `text` as a line of its format, in which colons and bars mean something else."""
    words = " ".join(WORDS.findall(text.lower()))
    return "|w " + words.replace(":", "COLON").replace("|", "BAR")
