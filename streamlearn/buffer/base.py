"""The interface of the replay policies, and what they share: the bounds, the draws and the state."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

from streamlearn.events import Event, Label
from streamlearn.state import State

OVERHEAD = 400  # bytes of an event besides its text and tokens: its objects, its slot in the list


def size_of(event: Event) -> int:
    """Return about how many bytes `event` occupies in memory."""
    tokens = 0 if event.tokens is None else event.tokens.nbytes
    return OVERHEAD + len(event.text) * _width(event.text) + tokens


def _width(text: str) -> int:
    """Return the bytes per character, those of the widest one (PEP 393)."""
    if text.isascii():
        return 1
    widest = max(text)
    return 1 if widest <= "\xff" else 2 if widest <= "\uffff" else 4


class ReplayBuffer(ABC):
    """A bounded memory of past events from which replayed examples are drawn uniformly.

    Insertion and draw cost O(1) an event, whatever the buffer holds and has seen.

    Parameters
    ----------
    records
        The most events it holds.
    bytes
        The most memory it holds, by :func:`size_of`.
    seed
        Seeds the generator, whose state is part of the buffer's.

    Attributes
    ----------
    policy
        Its name in the configuration.

    """

    policy: ClassVar[str]

    def __init__(self, *, records: int, bytes: int, seed: int = 0) -> None:  # noqa: A002 - the unit is the name
        self.records = records
        self.bytes = bytes
        self.held_bytes = 0
        self._events: list[Event] = []
        self._labels: dict[Label, int] = {}  # how many of the held events have each label
        self._random = random.Random(seed)

    def __len__(self) -> int:
        return len(self._events)

    @abstractmethod
    def add(self, event: Event) -> None:
        """Offer `event`, which may replace another one or be rejected."""

    def extend(self, events: Iterable[Event]) -> None:
        """Offer each of `events` in their order."""
        for event in events:
            self.add(event)

    def draw(self, count: int) -> list[Event]:
        """Return `count` distinct events, or all of them if there are fewer, in random order."""
        return self._random.sample(self._events, min(count, len(self)))

    def last(self, count: int) -> list[Event]:
        """Return up to `count` of the held events from the end of the list."""
        return self._events[-count:] if count else []

    def forget(self, events: Iterable[Event]) -> None:
        """Remove `events`, which a draw returned, for good."""
        gone = set(map(id, events))
        self._hold([event for event in self._events if id(event) not in gone])

    def by_label(self) -> Counter[Label]:
        """Return how many of the held events have each label; the counts are kept up to date, not recomputed."""
        return Counter(self._labels)

    def state(self) -> State:
        """Return the held events, the generator's state and the policy's counters."""
        version, words, gauss = self._random.getstate()
        return {"policy": self.policy, "events": list(self._events), "random": [version, list(words), gauss]}

    def load(self, state: State) -> None:
        """Continue from `state`; the events of another policy's state are offered to this buffer, which must be new."""
        version, words, gauss = state["random"]
        self._random.setstate((version, tuple(words), gauss))
        if state["policy"] == self.policy:
            self._restore(state)
        else:
            self.extend(state["events"])

    def _restore(self, state: State) -> None:
        """Restore the events and counters from a state of the same policy."""
        self._hold(list(state["events"]))

    def _hold(self, events: list[Event]) -> None:
        """Replace the held events by `events`."""
        self._events = events
        self.held_bytes = sum(map(size_of, events))
        self._labels = dict(Counter(event.label for event in events))

    def _count_in(self, event: Event) -> None:
        """Count `event`, which is being added."""
        self.held_bytes += size_of(event)
        self._labels[event.label] = self._labels.get(event.label, 0) + 1

    def _count_out(self, event: Event) -> None:
        """Stop counting `event`, which is being removed."""
        self.held_bytes -= size_of(event)
        left = self._labels[event.label] - 1
        if left:
            self._labels[event.label] = left
        else:
            del self._labels[event.label]

    def _index(self, below: int) -> int:
        return int(self._random.random() * below)
