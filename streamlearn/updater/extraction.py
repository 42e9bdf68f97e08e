"""Feature extraction: what experts read of texts, made of their token ids, with what is remembered for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.state import State, Stateful
from streamlearn.updater.centring import Centring
from streamlearn.updater.features import Embedding, Encoded, Feature
from streamlearn.updater.ngrams import OnlineTfidf
from streamlearn.updater.static import StaticEmbedding

FROZEN: tuple[Embedding, ...] = ("frozen", "middle")


class Embedded(Protocol):
    """What a frozen model makes of a text, each of shape (hidden,)."""

    @property
    def last(self) -> Tensor: ...  # noqa: D102

    @property
    def middle(self) -> Tensor: ...  # noqa: D102


class FeatureExtractor:
    """Makes the features that are wanted.

    Parameters
    ----------
    wanted
        What experts read.
    special
        Token ids that are no part of a text.
    embeddings
        Those of the tokens that the model begins with, of shape (vocabulary, dimensions), for the static embedding.
    embed
        What the frozen model makes of a text, for the embeddings of its layers.

    """

    def __init__(
        self,
        wanted: frozenset[Feature],
        *,
        special: Sequence[int] = (),
        embeddings: Tensor | None = None,
        embed: Callable[[NDArray[np.int32]], Embedded] | None = None,
    ) -> None:
        self._tfidf = OnlineTfidf(special) if "ngrams" in wanted else None
        self._static = StaticEmbedding(embeddings, special) if "static" in wanted and embeddings is not None else None
        self._embed = embed if set(FROZEN) & wanted else None
        self._frozen: dict[Embedding, Centring | None] = {kind: None for kind in FROZEN if kind in wanted}

    def begin_with(self, embeddings: Tensor) -> None:
        """Take the token embeddings that another model began with, where the static embedding is made."""
        if self._static:
            self._static.begin_with(embeddings)

    def add(self, encoded: Encoded, *, in_a_row: bool = False) -> None:
        """Add to `encoded` what is wanted, and remember nothing yet; `in_a_row` each text knows those before it.

        Raises
        ------
        Exception
            What the frozen model raises on a text.

        """
        if self._tfidf:
            encoded.ngrams = self._tfidf.read(encoded.tokens, in_a_row=in_a_row)
        if self._static:
            encoded.embeddings["static"] = self._static.read(encoded.tokens)
        encoded.uncentred = self._embedded(encoded)
        for kind, raw in encoded.uncentred.items():
            centring = self._frozen[kind] or Centring(raw.shape[1])
            encoded.embeddings[kind] = centring.read(raw)

    def take_in(self, encoded: Encoded) -> None:
        """Remember the texts of `encoded`, to which :meth:`add` has added."""
        if self._tfidf:
            self._tfidf.take_in(encoded.ngrams or ())
        if self._static:
            self._static.take_in(encoded.tokens)
        for kind, raw in encoded.uncentred.items():
            centring = self._frozen[kind] = self._frozen[kind] or Centring(raw.shape[1])
            centring.take_in(raw)

    def _embedded(self, encoded: Encoded) -> dict[Embedding, NDArray[np.float32]]:
        """Return what the frozen model makes of the texts, by kind, of shape (texts, hidden)."""
        if not self._embed or not len(encoded):
            return {}
        found = [self._embed(ids) for ids in encoded.tokens]
        layers: dict[Embedding, list[Tensor]] = {
            "frozen": [one.last for one in found],
            "middle": [one.middle for one in found],
        }
        return {kind: np.stack([vector.numpy() for vector in layers[kind]]) for kind in self._frozen}

    def state(self) -> State:
        """Return what is remembered, by feature."""
        parts: list[tuple[str, Stateful | None]] = [("ngrams", self._tfidf), ("static", self._static)]
        return {name: part.state() for name, part in [*parts, *self._frozen.items()] if part}

    def load(self, state: State) -> None:
        """Continue from `state`; a feature that is not in it starts over."""
        if self._tfidf and "ngrams" in state:
            self._tfidf.load(state["ngrams"])
        if self._static and "static" in state:
            self._static.load(state["static"])
        for kind in self._frozen:
            if kind in state:
                centring = self._frozen[kind] = Centring(len(state[kind]["sum"]))
                centring.load(state[kind])
