"""An expert for tests: it counts labels, reads no text, and draws what it would not need to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from streamlearn.config import Updater
from streamlearn.events import Reason
from streamlearn.state import State
from streamlearn.updater.experts.expert import Expert, Gradients
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.randomness import OwnRandom

LONGEST = 12  # tokens: on a text with more it takes no step
REGISTERED = f"{__name__}:Prior"


@dataclass(frozen=True, kw_only=True)
class Counts(Gradients):
    """What is to be added to the counts."""

    counts: Tensor


class Prior(Expert):
    """Predicts how often each label has been met, and notes what it was handed on."""

    name: ClassVar[str] = "prior"
    reads: ClassVar[frozenset[Feature]] = frozenset({"pooled"})

    def __init__(self, config: Updater, labels: list[str]) -> None:
        self.columns = labels
        self.random = OwnRandom(config.seed, torch.device("cpu"))
        self.pooled: list[Tensor | None] = []
        self._counts = torch.ones(max(1, len(labels)))

    def predict(self, encoded: Encoded) -> Tensor:
        self.pooled.append(encoded.pooled)
        return (self._counts / self._counts.sum()).log().expand(len(encoded), -1)

    @override
    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> Gradients | Reason:
        if any(len(ids) > LONGEST for ids in encoded.tokens):
            return Reason.NOT_FINITE
        log_probabilities = self.predict(encoded)
        with self.random:
            noise = torch.rand(len(self._counts)) / 100
        own = torch.tensor([1.0] * len(targets) if weights is None else weights)
        counts = torch.zeros_like(self._counts).index_add(0, torch.tensor(targets), own) + noise
        return Counts(log_probabilities, -log_probabilities[range(len(targets)), targets], counts=counts)

    def apply(self, gradients: Gradients) -> None:
        assert isinstance(gradients, Counts)
        self._counts = self._counts + gradients.counts

    def drop(self) -> None:
        """Nothing is kept between the halves of a step."""

    def grow(self, name: str) -> None:
        if self.columns:
            self._counts = torch.cat([self._counts, torch.ones(1)])
        self.columns.append(name)

    def shrink(self, count: int) -> None:
        self._counts = self._counts[: max(1, count)]
        del self.columns[count:]

    def restart(self) -> None:
        self._counts = torch.ones(max(1, len(self.columns)))

    @property
    def finite(self) -> bool:
        return bool(torch.isfinite(self._counts).all())

    def state(self) -> State:
        return {"columns": list(self.columns), "counts": self._counts.clone(), "random": self.random.mark()[0]}

    def load(self, state: dict[str, Any]) -> None:
        self.columns, self._counts = list(state["columns"]), state["counts"]
        self.random.reset((state["random"],))
