"""The course of a learner: its loss and accuracy over the events learnt, in a bounded number of points."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from msgspec import Struct

POINTS = 500


class Course(Struct):
    """Loss and figure over the events learnt; the figure is the accuracy or, for a language model, the bits per byte.

    At twice :data:`POINTS` points, each pair is merged into one: the mean loss of both, and the figure of the later,
    which is a windowed mean already. So the whole course is kept, at a resolution that halves each time.

    Attributes
    ----------
    events, loss, figure
        The points: how many events had been learnt, and both values.
    each
        How many micro-batches make a point.
    unfinished
        The losses of the incomplete point.
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
        """Remove what came after so many `events`."""
        kept = bisect_right(self.events, events)
        del self.events[kept:], self.loss[kept:], self.figure[kept:]
        if self.last[0] > events:
            self.unfinished = []

    def view(self) -> dict[str, list[Any]]:
        """Return the points as lists, with the incomplete one at the end."""
        last, figure = self.last
        open_point = [sum(self.unfinished) / len(self.unfinished)] if self.unfinished else []
        return {
            "events": self.events + [last] * len(open_point),
            "loss": self.loss + open_point,
            "figure": self.figure + [figure] * len(open_point),
        }
