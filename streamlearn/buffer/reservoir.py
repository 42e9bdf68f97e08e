"""Reservoir sampling: every event ever offered is held with the same probability."""

from __future__ import annotations

from streamlearn.buffer.base import ReplayBuffer
from streamlearn.events import Event
from streamlearn.state import State


class Reservoir(ReplayBuffer):
    """Vitter's algorithm R: the n-th event enters with probability capacity / n, replacing a random one.

    If the bound on bytes is reached before the one on records, random events are removed until the rest fits, and the
    number left is the capacity from then on. Removing random members of a uniform sample leaves a uniform sample, but
    growing it again would not, so the capacity stays, unless the bound in the configuration is raised: then the next
    events fill the buffer, which is biased towards them for a while.

    Examples
    --------
    >>> reservoir = Reservoir(records=100, bytes=2**20)
    >>> reservoir.extend(Event("text", "label", str(n), 0.0, "t", 0, n) for n in range(10_000))
    >>> len(reservoir), 4_000 < sum(event.offset for event in reservoir.draw(100)) / 100 < 6_000
    (100, True)

    References
    ----------
    Vitter, J. S. (1985). Random sampling with a reservoir. ACM Transactions on Mathematical Software 11(1).

    """

    policy = "reservoir"

    def __init__(self, *, records: int, bytes: int, seed: int = 0) -> None:  # noqa: A002
        super().__init__(records=records, bytes=bytes, seed=seed)
        self._seen = 0
        self._capacity = records

    def add(self, event: Event) -> None:
        """Offer `event`."""
        self._seen += 1
        events = self._events
        if len(events) < self._capacity:
            events.append(event)
            self._count_in(event)
        else:
            index = self._index(self._seen)
            if index >= self._capacity:
                return
            self._count_out(events[index])
            self._count_in(event)
            events[index] = event
        self._fit()

    def _fit(self) -> None:
        """Remove random events until both bounds hold; if any were removed, the number left is the new capacity."""
        crowded = len(self._events) > self.records or self.held_bytes > self.bytes
        while len(self._events) > self.records or self.held_bytes > self.bytes:
            self._evict()
        if crowded:
            self._capacity = max(1, len(self._events))

    def _evict(self) -> None:
        index = self._index(len(self._events))
        self._count_out(self._events[index])
        self._events[index] = self._events[-1]
        self._events.pop()

    def state(self) -> State:
        """Return the held events, the generator's state, and how many events were offered."""
        bounds = {"records": self.records, "bytes": self.bytes}
        return super().state() | {"seen": self._seen, "capacity": self._capacity, "bounds": bounds}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self._seen = state["seen"]
        raised = self.records > state["bounds"]["records"] or self.bytes > state["bounds"]["bytes"]
        self._capacity = self.records if raised else min(state["capacity"], self.records)
        self._fit()
