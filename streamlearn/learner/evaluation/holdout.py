"""The hold-out: the last events that are never trained on, in two splits.

``validation`` decides (the gate reads it), ``test`` is only reported. A stable hash of the text chooses the
split, as it chose the hold-out, so a text stays on its side.

A language model has a third one beside them: ``reference``, the first events that were held out, which stay. What it
comes to on them later says what has been forgotten since.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from streamlearn.events import Event, Label
from streamlearn.state import State

SPLITS = ("validation", "test")
REFERENCE = "reference"


@dataclass(frozen=True)
class Score:
    """What came of predicting so many `events` of a split; those that were `unpredicted` are not correct either."""

    events: int
    correct: int
    unpredicted: int

    @classmethod
    def of(cls, events: list[Event], predict: Callable[[Sequence[Event]], Sequence[Label | None]]) -> Score:
        """Return how `predict` does on `events`."""
        labels = predict(events) if events else []
        correct = sum(event.label == label for event, label in zip(events, labels, strict=True))
        return cls(len(events), correct, sum(label is None for label in labels))

    @property
    def unpredictable(self) -> float:
        """The share of those that were not predicted, 0 where there is no event."""
        return self.unpredicted / self.events if self.events else 0.0

    @property
    def figure(self) -> float | None:
        """What the objective goes by: the accuracy."""
        return self.accuracy

    @property
    def accuracy(self) -> float | None:
        """The share of correct ones, None where there is no event."""
        return self.correct / self.events if self.events else None


class HoldOut:
    """Keeps the newest held-out events of both splits, and measures accuracy on them.

    Parameters
    ----------
    records
        How many events of each split are kept.
    references
        How many of the first events of all stay; 0 for no such split.

    """

    def __init__(self, records: int, *, references: int = 0) -> None:
        self._splits: dict[str, deque[Event]] = {split: deque(maxlen=records) for split in SPLITS}
        self._references = references
        if references:
            self._splits[REFERENCE] = deque(maxlen=references)

    def extend(self, events: Iterable[Event]) -> None:
        """Take in held-out events, encoded."""
        for event in events:
            self._splits[split_of(event)].append(event)
            if self._references and len(self._splits[REFERENCE]) < self._references:
                self._splits[REFERENCE].append(event)

    def evaluate(self, predict: Callable[[Sequence[Event]], Sequence[Label | None]]) -> dict[str, Score]:
        """Return how `predict`, which returns None for an event that it cannot predict, does on each split."""
        return {split: Score.of(list(events), predict) for split, events in self.splits()}

    def splits(self) -> Iterator[tuple[str, Sequence[Event]]]:
        """Yield each split's name with its events, oldest first."""
        yield from self._splits.items()

    def state(self) -> State:
        """Return the kept events, oldest first."""
        return {split: list(events) for split, events in self._splits.items()}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        for split, events in self._splits.items():
            events.clear()
            events.extend(state[split])


def split_of(event: Event) -> str:
    """Return the split of `event`, which is held out."""
    return SPLITS[zlib.crc32(event.text.encode()) & 1]
