"""The result of a fine-tuning: the figures of each pass, and of the model that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamlearn.commands.finetuning.figures import Figures, load_figures


@dataclass(frozen=True)
class Epoch:
    """A pass over all examples: its number, from 1, the validation figures after it, and how long it took."""

    number: int
    validation: Figures
    seconds: float

    @classmethod
    def load(cls, told: Mapping[str, Any]) -> Epoch:
        """Return the pass that ``dataclasses.asdict`` turned into `told`."""
        return cls(**{**told, "validation": load_figures(told["validation"])})


@dataclass(frozen=True)
class Outcome:
    """The result of a fine-tuning.

    Attributes
    ----------
    output
        The directory of the model.
    train, labels, refused, duplicates
        How many examples were to be learnt, how many labels they have (0 for a language model), how many examples of
        all files were refused, by reason, and how many repeated an id.
    epochs
        The completed passes.
    before
        The validation figures before the first pass; None for a classifier that does not start from a snapshot.
    chosen
        The number of the pass that was kept: the one that predicted the validation data best.
    validation, test
        The figures of that pass; None if there is no test.
    transformer_test_accuracy
        How often the transformer alone is right; None without a mixture or a test.
    seconds
        How long learning and evaluation took.
    positions
        The end positions in the topic whose past was learnt, by ``topic/partition``; empty for a file.

    """

    output: str
    train: int
    labels: int
    refused: dict[str, int]
    duplicates: int
    epochs: list[Epoch]
    chosen: int
    validation: Figures
    test: Figures | None
    transformer_test_accuracy: float | None
    seconds: float
    positions: dict[str, int] = field(default_factory=dict)
    before: Figures | None = None

    @classmethod
    def load(cls, told: Mapping[str, Any]) -> Outcome:
        """Return the outcome that ``dataclasses.asdict`` turned into `told`."""
        epochs = [Epoch.load(one) for one in told["epochs"]]
        told = {"before": None, **told}  # which earlier versions did not tell
        figures = {name: load_figures(told[name]) if told[name] else None for name in ("before", "validation", "test")}
        return cls(**{**told, "epochs": epochs, **figures})


@dataclass(frozen=True)
class Standing:
    """The progress: the pass, the most passes, the examples `taken` in it, and how many there are."""

    epoch: int
    epochs: int
    taken: int
    examples: int
