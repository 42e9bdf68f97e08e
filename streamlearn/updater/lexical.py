"""The features that need no forward pass, with what they remember of the texts so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from streamlearn.state import State
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.ngrams import OnlineTfidf
from streamlearn.updater.static import StaticEmbedding


class Lexical:
    """Makes the lexical features that are wanted.

    Parameters
    ----------
    wanted
        What experts read.
    special
        Token ids that are no part of a text.
    embeddings
        Returns those of the tokens that the model begins with, of shape (vocabulary, dimensions).

    """

    def __init__(self, wanted: frozenset[Feature], *, special: Sequence[int], embeddings: Callable[[], Tensor]) -> None:
        self._tfidf = OnlineTfidf(special) if "ngrams" in wanted else None
        self._static = StaticEmbedding(embeddings(), special) if "static" in wanted else None

    def add(self, encoded: Encoded, *, in_a_row: bool = False) -> None:
        """Add to `encoded` what is wanted, and remember nothing yet; `in_a_row` each text knows those before it."""
        if self._tfidf:
            encoded.ngrams = self._tfidf.read(encoded.tokens, in_a_row=in_a_row)
        if self._static:
            encoded.static = self._static.read(encoded.tokens)

    def take_in(self, encoded: Encoded) -> None:
        """Remember the texts of `encoded`, to which :meth:`add` has added."""
        if self._tfidf:
            self._tfidf.take_in(encoded.ngrams or ())
        if self._static:
            self._static.take_in(encoded.tokens)

    def state(self) -> State:
        """Return what is remembered, by feature."""
        parts = {"ngrams": self._tfidf, "static": self._static}
        return {name: part.state() for name, part in parts.items() if part}

    def load(self, state: State) -> None:
        """Continue from `state`; a feature that is not in it starts over."""
        if self._tfidf and "ngrams" in state:
            self._tfidf.load(state["ngrams"])
        if self._static and "static" in state:
            self._static.load(state["static"])
