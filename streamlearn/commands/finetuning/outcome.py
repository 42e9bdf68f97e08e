"""What a fine-tuning comes to: the figures of each pass, and of what is kept in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamlearn.commands.measures import Measures, Meter
from streamlearn.events import Event
from streamlearn.learner.rehearsal import Said


@dataclass(frozen=True)
class Figures:
    """How well some events were predicted that no expert has learnt, as :class:`Measures` says."""

    events: int
    accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float | None

    @classmethod
    def of(cls, events: Sequence[Event], said: Sequence[Said]) -> Figures:
        """Return the figures of what was `said` of at least one of `events`."""
        meter = Meter()
        for event, one in zip(events, said, strict=True):
            meter.add(event.label, one.label, one.confidence, one.loss)
        found: Measures = meter.measures()
        return cls(found.events, found.accuracy, found.macro_f1, found.log_loss, found.calibration_error)


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
        How many examples were to be learnt, how many labels they have, how many examples of all files were refused, by
        reason, and how many repeated an id.
    epochs
        The passes that were made.
    chosen
        The number of the one that was kept: its loss on the validation was least.
    validation, test
        The figures of that one; None where there is no test.
    transformer_test_accuracy
        That of the transformer alone; None where there is none, or no test.
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
        epochs = [Epoch(one["number"], Figures(**one["validation"]), one["seconds"]) for one in told["epochs"]]
        figures = {name: Figures(**told[name]) if told[name] else None for name in ("validation", "test")}
        return cls(**{**told, "epochs": epochs, **figures})


@dataclass(frozen=True)
class Standing:
    """How far it has come: the pass, of at most so many, the examples `taken` of it, and of how many."""

    epoch: int
    epochs: int
    taken: int
    examples: int
