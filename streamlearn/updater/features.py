"""The features of the texts of one step, computed once and shared by all experts."""

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
"""A feature besides the token ids, computed only if an expert reads it."""
FROZEN: frozenset[Feature] = frozenset({"frozen", "middle"})
"""The features that need a pass through the frozen model."""
EMBEDDINGS: frozenset[Feature] = FROZEN | {"static"}
"""The features made with the model's initial weights."""


@dataclass
class Encoded:
    """The features of some texts.

    Attributes
    ----------
    tokens
        The token ids of each text, each of shape (tokens,).
    wanted
        The features besides the token ids that experts read.
    ngrams
        The weighted n-grams of each text; None if not wanted.
    embeddings
        The wanted embeddings of the texts by kind, each of shape (texts, dimensions), float32 and centred.
    uncentred
        The same before centring.
    pooled
        The transformer's pooled state of each text, of shape (texts, hidden), float32 and on the CPU: the input of its
        output layer in the transformer's own forward pass. Rows of texts on which the model raises are NaN. None before
        that pass, and if not wanted.

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
        """Return the embeddings of `kind`; ValueError if they were not declared as wanted."""
        if kind not in self.embeddings:
            raise ValueError(f"the {kind} embeddings have not been made")
        return self.embeddings[kind]

    @property
    def finite(self) -> bool:
        """Whether the computed embeddings are finite."""
        return all(bool(np.isfinite(vectors).all()) for vectors in self.embeddings.values())

    def take(self, positions: Iterable[int]) -> Encoded:
        """Return the token ids of the texts at `positions`, without any other features."""
        return Encoded([self.tokens[position] for position in positions], self.wanted)

    def first(self, count: int) -> Encoded:
        """Return the features of the first `count` texts, as far as they have been computed."""
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
