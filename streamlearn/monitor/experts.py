"""How each expert of the mixture does: its weight, the moving mean of its loss, and since when it is left out."""

from __future__ import annotations

import math

from msgspec import Struct

from streamlearn.reports import StepResult


class ExpertCourse(Struct):
    """How one expert does.

    Attributes
    ----------
    weight
        Its weight in the mixture after the last step; 0 while it is left out.
    loss
        The moving mean of its loss over fresh events, in nats; None before the first.
    events
        Over how many of them that is.
    reason, since
        Why it is left out, and since when in Unix seconds; None while it is not.

    """

    weight: float = 0.0
    loss: float | None = None
    events: int = 0
    reason: str | None = None
    since: float | None = None


class Experts:
    """The course of every expert, by name, in the order in which they were first reported.

    Parameters
    ----------
    window
        Over about how many fresh events a mean loss is taken: exactly over all of them up to the first `window`, and
        from there on with weights that fall exponentially.

    """

    def __init__(self, window: int) -> None:
        self._window = window
        self.by_name: dict[str, ExpertCourse] = {}

    def stepped(self, result: StepResult, now: float) -> None:
        """Follow a step that was taken at `now`, in Unix seconds.

        A loss that is not finite moves no mean: whoever has one is left out, with that reason. Whoever is in the
        mixture no longer, since the configuration has changed, is not shown any more.
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
