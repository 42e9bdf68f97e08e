"""The results of an evaluation so far: measures of all events and of each part, each event's result, each expert's."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass

from streamlearn.commands.measures import Meter
from streamlearn.reports import StepReport


@dataclass(frozen=True)
class ExpertCourse:
    """The results of one expert of the mixture.

    ``log_loss`` is the mean over events of its own predictions, ``weight`` its last one in the mixture, None if it
    never took part; ``left_out`` counts the steps that it was left out of, by reason.
    """

    log_loss: float | None
    weight: float | None
    left_out: dict[str, int]


class Tally:
    """The results so far.

    Attributes
    ----------
    lines
        Lines that have been processed.
    whole, parts
        The measures of all events, and of each part, in the order in which the parts began.
    correct, losses
        Whether each event was predicted correctly, as a byte, and its loss.
    begins
        The part that began at each of these events.

    """

    def __init__(self) -> None:
        self.lines = 0
        self.whole = Meter()
        self.parts: dict[str, Meter] = {}
        self.correct = bytearray()
        self.losses = array("f")
        self.begins: list[tuple[int, str]] = []
        self._experts: dict[str, tuple[float, float, int]] = {}  # weight, sum of losses, events
        self._left_out: dict[str, Counter[str]] = {}

    def add(self, report: StepReport) -> None:
        """Add the results of a step."""
        self.lines += sum(report.outcomes.values())
        result = report.result
        if result is None or not result.applied:
            return
        for event, predicted, confidence, loss in zip(
            report.learnt, result.predicted, result.confidences.tolist(), result.losses.tolist(), strict=True
        ):
            part = event.topic
            meters = [self.whole, self.parts.setdefault(part, Meter())] if part else [self.whole]
            for meter in meters:
                meter.add(event.label, predicted, confidence, loss)
            if part != (self.begins[-1][1] if self.begins else ""):
                self.begins.append((len(self.correct), part))
            self.correct.append(predicted == event.label)
            self.losses.append(loss)
        for name, expert in result.experts.items():
            _, loss, events = self._experts.get(name, (0.0, 0.0, 0))
            count = len(report.learnt)
            self._experts[name] = expert.weight, loss + count * expert.loss, events + count
        for name, reason in result.dropped.items():
            self._left_out.setdefault(name, Counter())[reason] += 1

    def experts(self) -> dict[str, ExpertCourse]:
        """Return the results of each expert."""
        found = {}
        for name in {**self._experts, **self._left_out}:
            weight, loss, events = self._experts.get(name, (None, 0.0, 0))
            left_out = dict(self._left_out.get(name, {}))
            found[name] = ExpertCourse(loss / events if events else None, weight, left_out)
        return found
