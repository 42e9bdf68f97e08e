"""The state of each expert of the mixture: its weight, the moving mean of its loss, and since when it is left out."""

from __future__ import annotations

import math

from msgspec import Struct

from streamlearn.reports import StepResult


class ExpertCourse(Struct):
    """The state of one expert.

    Attributes
    ----------
    weight
        Its weight in the mixture after the last step; 0 while it is left out.
    loss
        The moving mean of its loss over fresh events, in nats; None before the first.
    events
        The number of events in that mean.
    reason, since
        Why it is left out, and since when in Unix seconds; None if it takes part.

    """

    weight: float = 0.0
    loss: float | None = None
    events: int = 0
    reason: str | None = None
    since: float | None = None


class Experts:
    """The state of every expert, by name, in the order in which they were first reported.

    Parameters
    ----------
    window
        About how many fresh events a mean loss covers: a plain mean up to the first `window` events, and exponentially
        weighted from then on.

    """

    def __init__(self, window: int) -> None:
        self._window = window
        self.by_name: dict[str, ExpertCourse] = {}

    def stepped(self, result: StepResult, now: float) -> None:
        """Update with a step that was taken at `now`, in Unix seconds.

        A loss that is not finite does not enter a mean: the expert is left out, with that reason. Experts that are no
        longer in the mixture, because the configuration has changed, are not shown any more.
        """
        if result.applied:
            for name in self.by_name.keys() - result.experts.keys() - result.dropped.keys():
                del self.by_name[name]
        for name, report in result.experts.items():
            course = self.by_name.setdefault(name, ExpertCourse())
            course.weight = report.weight
            fresh = len(result.losses)
            if fresh and math.isfinite(report.loss):
                course.events = min(course.events + fresh, self._window)
                before = course.loss or 0.0
                course.loss = before + (report.loss - before) * min(1.0, fresh / course.events)
        for name, reason in result.dropped.items():
            course = self.by_name.setdefault(name, ExpertCourse())
            course.weight, course.reason = 0.0, reason
            course.since = now if course.since is None else course.since
        for name in result.experts.keys() - result.dropped.keys():
            self.by_name[name].reason = self.by_name[name].since = None
