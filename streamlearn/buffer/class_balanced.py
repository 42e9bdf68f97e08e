"""A class-balanced reservoir: frequent labels do not crowd out rare ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from streamlearn.buffer.base import ReplayBuffer, size_of
from streamlearn.events import Event, Label
from streamlearn.state import State


class ClassBalancedReservoir(ReplayBuffer):
    """Class-balancing reservoir sampling (CBRS).

    When full, an event of a label that has never been the largest replaces a random event of the largest one; an event
    of a label that is or was the largest enters with probability held / seen of its label, replacing a random event of
    the same label. So the labels are held in near equal numbers and, within each, uniformly over time.

    The labels are indexed by how many events they hold. An insertion or removal changes that by one, so the largest is
    found in O(1), whatever the number of labels.

    Examples
    --------
    >>> reservoir = ClassBalancedReservoir(records=100, bytes=2**20)
    >>> for n in range(10_000):
    ...     reservoir.add(Event("text", "rare" if n % 100 == 0 else "frequent", str(n), 0.0, "t", 0, n))
    >>> sorted(reservoir.by_label().items())
    [('frequent', 50), ('rare', 50)]

    References
    ----------
    Chrysakis, A. and Moens, M.-F. (2020). Online continual learning from imbalanced data. ICML, PMLR 119.

    """

    policy = "class_balanced"

    def __init__(self, *, records: int, bytes: int, seed: int = 0) -> None:  # noqa: A002
        super().__init__(records=records, bytes=bytes, seed=seed)
        self._seen: Counter[Label] = Counter()
        self._been_largest: dict[Label, None] = {}
        self._places: dict[Label, list[int]] = {}  # indices of each label's events
        self._rank: list[int] = []  # the position of each index in its label's list
        self._by_size: dict[int, dict[Label, None]] = {}  # the labels that hold so many events, oldest first
        self._largest_size = 0

    def add(self, event: Event) -> None:
        """Offer `event`."""
        label = event.label
        self._seen[label] += 1
        if len(self) < self.records and self.held_bytes + size_of(event) <= self.bytes:
            self._append(event)
            return
        largest = self._largest()
        if largest is None:
            return
        self._been_largest[largest] = None
        if label not in self._been_largest or label not in self._places:
            self._remove(largest)
            self._append(event)
        elif self._random.random() * self._seen[label] <= len(self._places[label]):
            self._remove(label)
            self._append(event)
        while self.held_bytes > self.bytes:
            self._remove(self._largest())

    def _largest(self) -> Label | None:
        return next(iter(self._by_size[self._largest_size])) if self._largest_size else None

    def _append(self, event: Event) -> None:
        places = self._places.setdefault(event.label, [])
        self._rank.append(len(places))
        places.append(len(self._events))
        self._file(event.label, len(places) - 1, len(places))
        self._events.append(event)
        self._count_in(event)

    def _remove(self, label: Label | None) -> None:
        """Remove a random event of `label`; the last event and the label's last index fill the two gaps."""
        if label is None:
            return
        places = self._places[label]
        index = places[self._index(len(places))]
        self._count_out(self._events[index])
        rank, moved = self._rank[index], places.pop()
        if moved != index:
            places[rank], self._rank[moved] = moved, rank
        self._file(label, len(places) + 1, len(places))
        if not places:
            del self._places[label]
        event, rank = self._events.pop(), self._rank.pop()
        if index < len(self._events):
            self._events[index], self._rank[index] = event, rank
            self._places[event.label][rank] = index

    def _file(self, label: Label, before: int, after: int) -> None:
        """Re-index `label`, which held `before` events and now holds `after`."""
        if before:
            del self._by_size[before][label]
            if not self._by_size[before]:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[label] = None
        if after > self._largest_size or self._largest_size not in self._by_size:
            self._largest_size = after

    def forget(self, events: Iterable[Event]) -> None:
        """Remove `events`, which a draw returned, for good."""
        super().forget(events)
        places: dict[Label, list[int]] = {label: [] for labels in self._by_size.values() for label in labels}
        for index, event in enumerate(self._events):
            places[event.label].append(index)
        self._set_places({label: held for label, held in places.items() if held})

    def state(self) -> State:
        """Return the held events, the generator's state, and what was seen of each label."""
        return super().state() | {
            "seen": [[label, count] for label, count in self._seen.items()],
            "been_largest": list(self._been_largest),
            "places": [[label, list(self._places[label])] for labels in self._by_size.values() for label in labels],
        }

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self._seen = Counter(dict(state["seen"]))
        self._been_largest = dict.fromkeys(state["been_largest"])
        self._set_places(dict(state["places"]))
        while len(self) > self.records or self.held_bytes > self.bytes:
            self._remove(self._largest())

    def _set_places(self, places: Mapping[Label, list[int]]) -> None:
        self._places = {label: list(held) for label, held in places.items()}
        self._rank = [0] * len(self._events)
        self._by_size, self._largest_size = {}, 0
        for label, indices in self._places.items():
            self._file(label, 0, len(indices))
            for rank, index in enumerate(indices):
                self._rank[index] = rank
