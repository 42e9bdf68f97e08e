"""A recent window: the last events, and nothing older."""

from __future__ import annotations

from collections.abc import Iterable

from streamlearn.buffer.base import ReplayBuffer
from streamlearn.events import Event
from streamlearn.state import State


class RecentWindow(ReplayBuffer):
    """First in, first out, the plain memory of experience replay (Lin, 1992).

    The events are in a list used as a queue, because a draw needs access to any of them in O(1), which a deque does not
    have. When the bound on bytes is reached, the oldest are removed until the rest fits.

    Examples
    --------
    >>> window = RecentWindow(records=3, bytes=2**20)
    >>> window.extend(Event("text", "label", str(n), 0.0, "t", 0, n) for n in range(10))
    >>> sorted(event.offset for event in window.draw(3))
    [7, 8, 9]

    References
    ----------
    Lin, L.-J. (1992). Self-improving reactive agents based on reinforcement learning, planning and teaching.
    Machine Learning 8.

    """

    policy = "recent"

    def __init__(self, *, records: int, bytes: int, seed: int = 0) -> None:  # noqa: A002
        super().__init__(records=records, bytes=bytes, seed=seed)
        self._oldest = 0  # index of the oldest held event; the list is cut when half of it is unused

    def __len__(self) -> int:
        return len(self._events) - self._oldest

    def add(self, event: Event) -> None:
        """Add `event`, and remove the oldest if a bound is exceeded."""
        self._events.append(event)
        self._count_in(event)
        self._expire()
        if self._oldest > len(self):
            self._trim()

    def _expire(self) -> None:
        while len(self) > self.records or self.held_bytes > self.bytes:
            self._count_out(self._events[self._oldest])
            self._oldest += 1

    def _trim(self) -> None:
        del self._events[: self._oldest]
        self._oldest = 0

    def draw(self, count: int) -> list[Event]:
        """Return `count` distinct events, or all of them if there are fewer, in random order."""
        indices = self._random.sample(range(self._oldest, len(self._events)), min(count, len(self)))
        return [self._events[index] for index in indices]

    def last(self, count: int) -> list[Event]:
        """Return up to `count` of the newest events."""
        return super().last(min(count, len(self)))

    def forget(self, events: Iterable[Event]) -> None:
        """Remove `events`, which a draw returned, for good."""
        self._trim()
        super().forget(events)

    def state(self) -> State:
        """Return the held events, oldest first, and the generator's state."""
        self._trim()
        return super().state()

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self._oldest = 0
        self._expire()
