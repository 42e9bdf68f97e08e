"""Labels texts with a published snapshot, or continues them if it is a language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from streamlearn.errors import StreamlearnError, UnpredictableError

BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """A text's most probable label, and its probability."""

    text: str
    label: str
    score: float


@dataclass(frozen=True)
class Continuation:
    """A text, and a language model's continuation of it."""

    text: str
    continuation: str


def continues(snapshot: Path) -> bool:
    """Whether `snapshot` holds a language model; StateError if there is no model."""
    from streamlearn.serving.loading import is_a_language_model  # noqa: PLC0415 - seconds that only this command needs

    return is_a_language_model(snapshot)


def continue_texts(snapshot: Path, texts: Iterable[str]) -> Iterator[Continuation]:
    """Yield the continuation of each of `texts`, as they come, by the language model in `snapshot`.

    Raises
    ------
    StateError
        If the snapshot cannot be loaded.
    StreamlearnError
        If a text cannot be continued.

    """
    from streamlearn.serving.language import load_language_model  # noqa: PLC0415 - seconds, likewise

    model = load_language_model(snapshot)
    for index, text in enumerate(texts):
        try:
            yield Continuation(text, model.continue_text(text))
        except ValueError as error:
            raise StreamlearnError(f"the text at index {index} cannot be continued: {error}") from None


def predict(snapshot: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """Yield a prediction for each of `texts`, as they come.

    Parameters
    ----------
    snapshot
        A path as for :func:`streamlearn.load`; links are resolved once, so all texts see the same weights.

    Raises
    ------
    StateError
        If the snapshot cannot be loaded.
    UnpredictableError
        If a text has no probabilities.

    """
    from streamlearn.serving.loading import load  # noqa: PLC0415 - seconds that only this command needs

    predictor, source, done = load(snapshot), iter(texts), 0
    while batch := list(islice(source, BATCH)):
        try:
            labels, probabilities = predictor.predict(batch)
        except UnpredictableError as error:
            raise UnpredictableError(done + error.index, error.why) from None
        done += len(batch)
        for text, label, score in zip(batch, labels, probabilities.max(-1).tolist(), strict=True):
            yield Prediction(text=text, label=str(label), score=score)
