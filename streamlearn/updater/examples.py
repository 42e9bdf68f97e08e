"""What a step learns from: encoded events with their features and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamlearn.events import Event
from streamlearn.updater.features import Encoded


@dataclass(frozen=True)
class Examples:
    """Events with the features of their texts and their weights; the first ``fresh`` of them are fresh ones."""

    events: Sequence[Event]
    encoded: Encoded
    weights: Sequence[float] | None
    fresh: int

    def take(self, positions: Sequence[int]) -> Examples:
        """Return those at `positions`, which are in order."""
        return Examples(
            [self.events[position] for position in positions],
            self.encoded.take(positions),
            None if self.weights is None else [self.weights[position] for position in positions],
            sum(position < self.fresh for position in positions),
        )
