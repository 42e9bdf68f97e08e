"""The common base of experts that learn event by event."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.state import State
from streamlearn.updater.experts.expert import Gradients
from streamlearn.updater.features import Embedding, Encoded, Feature
from streamlearn.updater.randomness import OwnRandom

LogProbabilities = NDArray[np.float64]
"""Of shape (texts, labels)."""


@dataclass(frozen=True, kw_only=True)
class Prepared(Gradients):
    """What is to be learnt: the texts, the column of each text's label, and their weights, of shape (texts,)."""

    encoded: Encoded
    targets: Sequence[int]
    weights: NDArray[np.float64]


class OnlineExpert(ABC):
    """An expert without gradients: it sees each event once, and has learnt it at once.

    The events of a micro-batch are all predicted before the first of them is learnt.

    Parameters
    ----------
    config
        Only its seed is read, by experts that draw random numbers.
    columns
        The names of the labels known from the start.

    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[Feature]]
    replays: ClassVar[bool] = False

    def __init__(self, config: UpdaterConfig, columns: Sequence[str]) -> None:
        self._config = config
        self.columns: list[str] = []
        self.random = OwnRandom(config.seed, torch.device("cpu"))
        for column in columns:
            self.grow(column)

    @abstractmethod
    def _predict(self, encoded: Encoded) -> LogProbabilities:
        """Return the log-probabilities of the known labels; there is at least one."""

    @abstractmethod
    def _learn(self, prepared: Prepared) -> None:
        """Learn the events, one after the other."""

    def grow(self, name: str) -> None:
        """Add a column for the label `name`."""
        self.columns.append(name)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`, about which nothing has been learnt."""
        del self.columns[count:]

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels)."""
        if not self.columns or not len(encoded):
            return torch.zeros(len(encoded), max(1, len(self.columns)))
        return torch.from_numpy(self._predict(encoded))

    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> Gradients:
        """Predict the texts, and prepare to learn them; `apart` has no effect."""
        del apart
        log_probabilities = self.predict(encoded)
        return Prepared(
            log_probabilities,
            -log_probabilities[range(len(targets)), targets].float(),
            encoded=encoded,
            targets=targets,
            weights=np.asarray([1.0] * len(targets) if weights is None else weights),
        )

    def apply(self, gradients: Gradients) -> None:
        """Learn what :meth:`gradients` has prepared."""
        assert isinstance(gradients, Prepared)  # noqa: S101 - it is this class's own
        if len(gradients.targets):
            self._learn(gradients)

    def drop(self) -> None:
        """Do nothing: all that is prepared is in the return value of :meth:`gradients`."""
        return

    def restart(self) -> None:
        """Start over, with the known labels."""
        self.__dict__ = type(self)(self._config, self.columns).__dict__

    @property
    def finite(self) -> bool:
        """Always true: non-finite parameters would show in its predictions."""
        return True

    @abstractmethod
    def state(self) -> State:
        """Return a copy of everything that decides what this expert does next."""
        return {"columns": list(self.columns)}

    @abstractmethod
    def load(self, state: State) -> None:
        """Continue from `state`."""
        for name in state["columns"][len(self.columns) :]:
            self.grow(name)
        self.columns = list(state["columns"])


class EmbeddingExpert(OnlineExpert):
    """An online expert that reads one kind of embedding and nothing else.

    Attributes
    ----------
    embedding
        The kind of embedding.

    """

    embedding: ClassVar[Embedding] = "static"

    def __init_subclass__(cls) -> None:
        cls.reads = frozenset({cls.embedding})


def log_softmax(logits: LogProbabilities) -> LogProbabilities:
    """Return `logits`, of shape (texts, labels), as log-probabilities."""
    shifted = logits - logits.max(-1, keepdims=True)
    normal: LogProbabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return normal
