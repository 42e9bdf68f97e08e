"""The hold-out: the last events that are never trained on, in two splits.

``validation`` decides (the gate reads it), ``test`` is only reported. A stable hash of the text chooses the
split, as it chose the hold-out, so a text stays on its side.

A language model has a third split: ``reference``, the first events that were held out, which are kept for good. Its
figure on them later shows how much has been forgotten since.
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
    """The result of predicting `events` events of a split; the `unpredicted` ones count as wrong."""

    events: int
    correct: int
    unpredicted: int

    @classmethod
    def of(cls, events: list[Event], predict: Callable[[Sequence[Event]], Sequence[Label | None]]) -> Score:
        """Return the score of `predict` on `events`."""
        labels = predict(events) if events else []
        correct = sum(event.label == label for event, label in zip(events, labels, strict=True))
        return cls(len(events), correct, sum(label is None for label in labels))

    @property
    def unpredictable(self) -> float:
        """The share of events that could not be predicted, 0 if there are none."""
        return self.unpredicted / self.events if self.events else 0.0

    @property
    def figure(self) -> float | None:
        """The figure that the objective is judged by: the accuracy."""
        return self.accuracy

    @property
    def accuracy(self) -> float | None:
        """The share of correct predictions, None if there are no events."""
        return self.correct / self.events if self.events else None


class HoldOut:
    """Keeps the newest held-out events of both splits, and measures accuracy on them.

    Parameters
    ----------
    records
        How many events of each split are kept.
    references
        How many of the very first events are kept for good; 0 for no such split.

    """

    def __init__(self, records: int, *, references: int = 0) -> None:
        self._splits: dict[str, deque[Event]] = {split: deque(maxlen=records) for split in SPLITS}
        self._references = references
        if references:
            self._splits[REFERENCE] = deque(maxlen=references)

    def extend(self, events: Iterable[Event]) -> None:
        """Add held-out events, encoded."""
        for event in events:
            self._splits[split_of(event)].append(event)
            if self._references and len(self._splits[REFERENCE]) < self._references:
                self._splits[REFERENCE].append(event)

    def evaluate(self, predict: Callable[[Sequence[Event]], Sequence[Label | None]]) -> dict[str, Score]:
        """Return the score of `predict`, which returns None for an event that it cannot predict, on each split."""
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
