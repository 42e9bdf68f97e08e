"""Feature extraction: computes what experts read from token ids, and keeps the running statistics for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.state import State, Stateful
from streamlearn.updater.centring import Centring
from streamlearn.updater.features import FROZEN, Embedding, Encoded, Feature
from streamlearn.updater.ngrams import OnlineTfidf
from streamlearn.updater.static import StaticEmbedding


class Embedded(Protocol):
    """A frozen model's embeddings of a text, each of shape (hidden,)."""

    @property
    def last(self) -> Tensor: ...  # noqa: D102

    @property
    def middle(self) -> Tensor: ...  # noqa: D102


class FeatureExtractor:
    """Computes the wanted features.

    Parameters
    ----------
    wanted
        The features that experts read.
    special
        Ids of special tokens, which are not part of a text.
    embeddings
        The model's initial token embeddings, of shape (vocabulary, dimensions), for the static embedding.
    embed
        Returns the frozen model's embeddings of a text.

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
        self._embed = embed if FROZEN & wanted else None
        self._wanted = wanted
        self._centrings: dict[Embedding, Centring] = {}

    def add(self, encoded: Encoded, *, in_a_row: bool = False) -> None:
        """Add the wanted features to `encoded` and update no statistics; `in_a_row`, each text counts those before it.

        Raises
        ------
        Exception
            Whatever the frozen model raises on a text.

        """
        if self._tfidf:
            encoded.ngrams = self._tfidf.read(encoded.tokens, in_a_row=in_a_row)
        encoded.uncentred = self._uncentred(encoded)
        for kind, raw in encoded.uncentred.items():
            encoded.embeddings[kind] = self._centrings.get(kind, Centring(raw.shape[1])).read(raw)

    def take_in(self, encoded: Encoded) -> None:
        """Update the statistics with the texts of `encoded`, whose features :meth:`add` has added."""
        if self._tfidf:
            self._tfidf.take_in(encoded.ngrams or ())
        if self._static:
            self._static.take_in(encoded.tokens)
        for kind, raw in encoded.uncentred.items():
            self._centrings.setdefault(kind, Centring(raw.shape[1])).take_in(raw)

    def _uncentred(self, encoded: Encoded) -> dict[Embedding, NDArray[np.floating]]:
        """Return the wanted embeddings of the texts, by kind, of shape (texts, dimensions)."""
        made: dict[Embedding, NDArray[np.floating]] = {}
        if self._static:
            made["static"] = self._static.read(encoded.tokens)
        if not self._embed or not len(encoded):
            return made
        found = [self._embed(ids) for ids in encoded.tokens]
        if "frozen" in self._wanted:
            made["frozen"] = np.stack([one.last.numpy() for one in found])
        if "middle" in self._wanted:
            made["middle"] = np.stack([one.middle.numpy() for one in found])
        return made

    def state(self) -> State:
        """Return the statistics by feature, for features that have any."""
        parts: list[tuple[str, Stateful | None]] = [("ngrams", self._tfidf), ("static", self._static)]
        state: State = {name: part.state() for name, part in parts if part}
        centrings = {kind: centring.state() for kind, centring in self._centrings.items()}
        return state | ({"centrings": centrings} if centrings else {})

    def load(self, state: State) -> None:
        """Continue from `state`; a feature that is not in it starts over."""
        if self._tfidf and "ngrams" in state:
            self._tfidf.load(state["ngrams"])
        if self._static and "static" in state:
            self._static.load(state["static"])
        for kind, saved in state.get("centrings", {}).items():
            if kind in self._wanted:
                centring = self._centrings[kind] = Centring(len(saved["sum"]))
                centring.load(saved)
