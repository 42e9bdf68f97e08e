"""The hold-out: the last events that are never trained on, in two splits.

``validation`` decides (the gate reads it), ``test`` is only reported. A stable hash of the text chooses the
split, as it chose the hold-out, so a text stays on its side.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from streamlearn.events import Event, Label
from streamlearn.state import State

SPLITS = ("validation", "test")


class HoldOut:
    """Keeps the newest held-out events of both splits, and measures accuracy on them.

    Parameters
    ----------
    records
        How many events of each split are kept.

    """

    def __init__(self, records: int) -> None:
        self._splits: dict[str, deque[Event]] = {split: deque(maxlen=records) for split in SPLITS}

    def extend(self, events: Iterable[Event]) -> None:
        """Take in held-out events, encoded."""
        for event in events:
            split = SPLITS[zlib.crc32(event.text.encode()) & 1]
            self._splits[split].append(event)

    def accuracy(self, predict: Callable[[Sequence[Event]], Sequence[Label]]) -> dict[str, float | None]:
        """Return the accuracy of `predict` on each split, None where it is empty."""
        return {split: _accuracy(list(events), predict) for split, events in self._splits.items()}

    def state(self) -> State:
        """Return the kept events, oldest first."""
        return {split: list(events) for split, events in self._splits.items()}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        for split, events in self._splits.items():
            events.clear()
            events.extend(state[split])


def _accuracy(events: list[Event], predict: Callable[[Sequence[Event]], Sequence[Label]]) -> float | None:
    if not events:
        return None
    predicted = predict(events)
    return sum(event.label == label for event, label in zip(events, predicted, strict=True)) / len(events)
