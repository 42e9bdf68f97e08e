"""Predicts labels with a published model: the mixture, with the learner's own bits, or a transformer alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.errors import UnpredictableError
from streamlearn.events import Label, flaw
from streamlearn.updater.soundness import sound

AT_ONCE = 256  # texts: bounds the memory, and larger batches are hardly faster

Kind = Literal["mixture", "transformer"]


class Scorer(Protocol):
    """Computes the log-probabilities of the labels of texts.

    Attributes
    ----------
    predictor
        ``mixture`` or ``transformer``.
    labels
        The labels of its columns, in order.

    """

    predictor: ClassVar[Kind]
    labels: list[Label]

    def log_probabilities(self, texts: Sequence[str]) -> Tensor:
        """Return the log-probabilities of at least one text, of shape (texts, labels); NaN if the model raises."""
        ...


class Predictor:
    """A published model; threads may share it, one at a time.

    Attributes
    ----------
    labels
        The labels, in the order of the columns of the probabilities. Integer labels are integers as learnt; of a
        transformer alone they are names.
    version
        The snapshot's version, or None if the directory has none.
    predictor
        ``mixture``, or ``transformer`` if that was published alone.

    """

    def __init__(self, scorer: Scorer, *, version: int | None) -> None:
        self._scorer = scorer
        self._turn = threading.Lock()
        self.labels = list(scorer.labels)
        self.version = version
        self.predictor = scorer.predictor

    def predict(self, texts: Iterable[str]) -> tuple[list[Label], NDArray[np.float32]]:
        """Return the most probable label of each text, and the probabilities of all labels.

        On the machine on which the model was learnt, and with as many threads, these equal the learner's own to the bit
        if the same texts are predicted together, because padding changes the last bits. Texts are processed 256 at a
        time.

        Returns
        -------
        labels
            One for each text.
        probabilities
            Of shape (texts, labels), each row summing to 1.

        Raises
        ------
        TypeError
            If `texts` is a single string, or one of them is not a string.
        UnpredictableError
            If a text is empty or has no probabilities, which is a ValueError; it names the index of the first.

        """
        if isinstance(texts, str):
            raise TypeError("predict takes several texts, and got a single one: put it into a list")
        found: list[Label] = []
        rows = [np.empty((0, len(self.labels)), np.float32)]
        source = iter(texts)
        while batch := list(islice(source, AT_ONCE)):
            log_probabilities = self._scored(batch, first=len(found))
            found += [self.labels[column] for column in log_probabilities.argmax(-1).tolist()]
            rows.append(log_probabilities.exp().float().numpy())
        return found, np.concatenate(rows)

    def _scored(self, texts: Sequence[str], *, first: int) -> Tensor:
        """Return the log-probabilities of `texts`, the first of which has the index `first`."""
        for index, text in enumerate(texts, first):
            if not isinstance(text, str):
                raise TypeError(f"the text at index {index} is of type {type(text).__name__}, not str")
            if wrong := flaw(text):
                raise UnpredictableError(index, f"it {wrong}")
        with self._turn:
            log_probabilities = self._scorer.log_probabilities(texts)
        for index, good in enumerate(sound(log_probabilities), first):
            if not good:
                raise UnpredictableError(index)
        return log_probabilities
