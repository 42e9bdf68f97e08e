"""Labels texts with a published snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from streamlearn.errors import StateError, StreamlearnError

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

    from streamlearn.updater.experts.transformer.model import one_sentence  # noqa: PLC0415
    from streamlearn.updater.experts.transformer.published import load_published  # noqa: PLC0415

    with one_sentence(f"the snapshot {snapshot} cannot be loaded", StateError):
        model, tokenizer = load_published(snapshot.resolve(strict=True))
        classify = transformers.pipeline(
            "text-classification", model=model, tokenizer=tokenizer, device="cpu", trust_remote_code=False
        )
    source = iter(texts)
    while batch := list(islice(source, BATCH)):
        with one_sentence(f"the snapshot {snapshot} cannot label a text", StreamlearnError):
            labelled = classify(batch, truncation=True)
        for text, found in zip(batch, labelled, strict=True):
            yield Prediction(text=text, label=found["label"], score=found["score"])
