"""What experts read of the texts of one step, computed once and shared by all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.events import Event

Feature = Literal["pooled"]
"""A feature beside the token ids, which is there only where an expert reads it."""


@dataclass
class Encoded:
    """The features of some texts.

    Attributes
    ----------
    tokens
        The token ids of each text, each of shape (tokens,).
    wanted
        The features beside the token ids that an expert reads.
    pooled
        The transformer's state of each text, of shape (texts, hidden), float32 and on the CPU: what its output layer
        was fed with, in the forward pass that the transformer made for itself. Rows of texts at which the model raises
        are NaN. None before that pass, and where nobody wants it.

    """

    tokens: Sequence[NDArray[np.int32]]
    wanted: frozenset[Feature] = frozenset()
    pooled: Tensor | None = None

    @classmethod
    def of(cls, events: Iterable[Event], wanted: frozenset[Feature]) -> Encoded:
        """Return the features of the texts of `events`, whose token ids are known."""
        return cls([_tokens(event) for event in events], wanted)

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, positions: Iterable[int]) -> Encoded:
        """Return the features of the texts at `positions`, without those of a forward pass."""
        return Encoded([self.tokens[position] for position in positions], self.wanted)


def _tokens(event: Event) -> NDArray[np.int32]:
    if event.tokens is None:
        raise ValueError(f"event {event.id} has not been encoded")
    return event.tokens
