"""Labels texts with a published snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from streamlearn.errors import UnpredictableError

BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """A text's most probable label, and its probability."""

    text: str
    label: str
    score: float


def predict(snapshot: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """Yield a prediction for each of `texts`, as they come.

    Parameters
    ----------
    snapshot
        What :func:`streamlearn.load` takes; it is resolved once, so all texts meet the same weights.

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
