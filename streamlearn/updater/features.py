"""What experts read of the texts of one step, computed once and shared by all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.events import Event
from streamlearn.updater.ngrams import Ngrams

Feature = Literal["ngrams", "static", "pooled"]
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
    ngrams
        The weighted n-grams of each text; None where nobody wants them.
    static
        The static embedding of each text, of shape (texts, dimensions), float32; None where nobody wants it.
    pooled
        The transformer's state of each text, of shape (texts, hidden), float32 and on the CPU: what its output layer
        was fed with, in the forward pass that the transformer made for itself. Rows of texts at which the model raises
        are NaN. None before that pass, and where nobody wants it.

    """

    tokens: Sequence[NDArray[np.int32]]
    wanted: frozenset[Feature] = frozenset()
    ngrams: Sequence[Ngrams] | None = None
    static: NDArray[np.float32] | None = None
    pooled: Tensor | None = None

    @classmethod
    def of(cls, events: Iterable[Event], wanted: frozenset[Feature]) -> Encoded:
        """Return the features of the texts of `events`, whose token ids are known."""
        return cls([_tokens(event) for event in events], wanted)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def embedded(self) -> NDArray[np.float32]:
        """The static embeddings, for an expert that wants them; ValueError where they have not been made."""
        if self.static is None:
            raise ValueError("the static embeddings have not been made")
        return self.static

    def take(self, positions: Iterable[int]) -> Encoded:
        """Return the token ids of the texts at `positions`, and nothing yet of what is made of them."""
        return Encoded([self.tokens[position] for position in positions], self.wanted)

    def first(self, count: int) -> Encoded:
        """Return the features of the first `count` texts, as far as they are there."""
        return replace(
            self,
            tokens=self.tokens[:count],
            ngrams=None if self.ngrams is None else self.ngrams[:count],
            static=None if self.static is None else self.static[:count],
            pooled=None if self.pooled is None else self.pooled[:count],
        )


def _tokens(event: Event) -> NDArray[np.int32]:
    if event.tokens is None:
        raise ValueError(f"event {event.id} has not been encoded")
    return event.tokens
