"""Labels texts with a published snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from streamlearn.errors import StateError

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
        The directory of a snapshot, or ``latest``; it is resolved once, so all texts meet the same weights.

    Raises
    ------
    StateError
        If the snapshot cannot be loaded.

    """
    import transformers  # noqa: PLC0415 - seconds that only this command needs

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        classify = transformers.pipeline("text-classification", model=str(snapshot.resolve(strict=True)), device="cpu")
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise StateError(f"the snapshot {snapshot} cannot be loaded: {first}") from None
    source = iter(texts)
    while batch := list(islice(source, BATCH)):
        for text, found in zip(batch, classify(batch, truncation=True), strict=True):
            yield Prediction(text=text, label=found["label"], score=found["score"])
