"""What experts read of the texts of one step, computed once and shared by all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.events import Event
from streamlearn.updater.ngrams import Ngrams

Embedding = Literal["static", "frozen", "middle"]
Feature = Literal["ngrams", "pooled"] | Embedding
"""A feature beside the token ids, which is there only where an expert reads it."""
FROZEN: frozenset[Feature] = frozenset({"frozen", "middle"})
"""What takes a pass through the frozen model."""
EMBEDDINGS: frozenset[Feature] = FROZEN | {"static"}
"""What is made with the weights that the model begins with."""


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
    embeddings
        The embeddings of the texts by their kind, each of shape (texts, dimensions), float32 and centred; those that
        somebody wants.
    uncentred
        The embeddings before they are centred, likewise.
    pooled
        The transformer's state of each text, of shape (texts, hidden), float32 and on the CPU: what its output layer
        was fed with, in the forward pass that the transformer made for itself. Rows of texts at which the model raises
        are NaN. None before that pass, and where nobody wants it.

    """

    tokens: Sequence[NDArray[np.int32]]
    wanted: frozenset[Feature] = frozenset()
    ngrams: Sequence[Ngrams] | None = None
    embeddings: dict[Embedding, NDArray[np.float32]] = field(default_factory=dict)
    uncentred: dict[Embedding, NDArray[np.floating]] = field(default_factory=dict)
    pooled: Tensor | None = None

    @classmethod
    def of(cls, events: Iterable[Event], wanted: frozenset[Feature]) -> Encoded:
        """Return the features of the texts of `events`, whose token ids are known."""
        return cls([_tokens(event) for event in events], wanted)

    def __len__(self) -> int:
        return len(self.tokens)

    def vectors(self, kind: Embedding) -> NDArray[np.float32]:
        """Return the embeddings of a `kind`; ValueError where nobody has said that they are wanted."""
        if kind not in self.embeddings:
            raise ValueError(f"the {kind} embeddings have not been made")
        return self.embeddings[kind]

    @property
    def finite(self) -> bool:
        """Whether the embeddings that have been made are finite."""
        return all(bool(np.isfinite(vectors).all()) for vectors in self.embeddings.values())

    def take(self, positions: Iterable[int]) -> Encoded:
        """Return the token ids of the texts at `positions`, and nothing yet of what is made of them."""
        return Encoded([self.tokens[position] for position in positions], self.wanted)

    def first(self, count: int) -> Encoded:
        """Return the features of the first `count` texts, as far as they are there."""
        return replace(
            self,
            tokens=self.tokens[:count],
            ngrams=None if self.ngrams is None else self.ngrams[:count],
            embeddings={kind: vectors[:count] for kind, vectors in self.embeddings.items()},
            uncentred={kind: vectors[:count] for kind, vectors in self.uncentred.items()},
            pooled=None if self.pooled is None else self.pooled[:count],
        )


def _tokens(event: Event) -> NDArray[np.int32]:
    if event.tokens is None:
        raise ValueError(f"event {event.id} has not been encoded")
    return event.tokens
