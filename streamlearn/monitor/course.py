"""The course of a learner: its loss, and how right it was, over the events learnt, in a bounded number of points."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from msgspec import Struct

POINTS = 500


class Course(Struct):
    """Loss and figure over the events learnt; the figure is the accuracy or, of a language model, the bits per byte.

    When there are twice :data:`POINTS` of them, each pair becomes one: the mean loss of both, and the figure of the
    later, which is a mean over a window already. So the whole course is kept, the older the coarser from there on.

    Attributes
    ----------
    events, loss, figure
        The points: how many events had been learnt, and what both were.
    each
        How many micro-batches make a point.
    unfinished
        The losses of the point that is not full yet.
    last
        The events and the figure after the last micro-batch.

    """

    events: list[int] = []
    loss: list[float] = []
    figure: list[float | None] = []
    each: int = 1
    unfinished: list[float] = []
    last: tuple[int, float | None] = (0, None)

    def __post_init__(self) -> None:
        if not len(self.events) == len(self.loss) == len(self.figure) < 2 * POINTS or self.each < 1:
            raise ValueError("these are no points of a course")

    def add(self, events: int, loss: float, figure: float | None) -> None:
        """Add a micro-batch with the mean `loss`, after which so many `events` have been learnt."""
        self.unfinished.append(loss)
        self.last = events, figure
        if len(self.unfinished) < self.each:
            return
        self.events.append(events)
        self.loss.append(sum(self.unfinished) / len(self.unfinished))
        self.figure.append(figure)
        self.unfinished = []
        if len(self.events) == 2 * POINTS:
            self.each *= 2
            pairs = zip(self.loss[::2], self.loss[1::2], strict=True)
            self.loss = [(first + second) / 2 for first, second in pairs]
            self.events, self.figure = self.events[1::2], self.figure[1::2]

    def cut(self, events: int) -> None:
        """Forget what came after so many `events`."""
        kept = bisect_right(self.events, events)
        del self.events[kept:], self.loss[kept:], self.figure[kept:]
        if self.last[0] > events:
            self.unfinished = []

    def view(self) -> dict[str, list[Any]]:
        """Return the points as lists, the one that is not full yet at their end."""
        last, figure = self.last
        open_point = [sum(self.unfinished) / len(self.unfinished)] if self.unfinished else []
        return {
            "events": self.events + [last] * len(open_point),
            "loss": self.loss + open_point,
            "figure": self.figure + [figure] * len(open_point),
        }
