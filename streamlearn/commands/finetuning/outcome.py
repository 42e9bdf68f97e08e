"""What a fine-tuning comes to: the figures of each pass, and of what is kept in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamlearn.commands.finetuning.figures import Figures, load_figures


@dataclass(frozen=True)
class Epoch:
    """A pass over all examples: its number, from 1, the figures on the validation behind it, and how long it took."""

    number: int
    validation: Figures
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a fine-tuning came to.

    Attributes
    ----------
    output
        The directory of the model.
    train, labels, refused, duplicates
        How many examples were to be learnt, how many labels they have (0 for a language model), how many examples of
        all files were refused, by reason, and how many repeated an id.
    epochs
        The passes that were made.
    chosen
        The number of the one that was kept: it predicted the validation best.
    validation, test
        The figures of that one; None where there is no test.
    transformer_test_accuracy
        How often the transformer alone is right; None where there is no mixture beside it, or no test.
    seconds
        How long learning and judging took.
    positions
        Where it ended in the topic of which it learnt the past, by ``topic/partition``; empty where it was a file.

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

    @classmethod
    def load(cls, told: Mapping[str, Any]) -> Outcome:
        """Return what ``dataclasses.asdict`` made `told` of."""
        epochs = [Epoch(one["number"], load_figures(one["validation"]), one["seconds"]) for one in told["epochs"]]
        figures = {name: load_figures(told[name]) if told[name] else None for name in ("validation", "test")}
        return cls(**{**told, "epochs": epochs, **figures})


@dataclass(frozen=True)
class Standing:
    """How far it has come: the pass, of at most so many, the examples `taken` of it, and of how many."""

    epoch: int
    epochs: int
    taken: int
    examples: int
