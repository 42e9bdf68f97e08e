"""What the live page shows: the course of the learner since it was started, of bounded size, and how things are now.

The learning thread tells it, the server's thread asks it; neither ever waits for more than a copy of some lists.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from streamlearn.events import Label
from streamlearn.monitor.experts import ExpertCourse
from streamlearn.records import Partition

POINTS = 500
MARKS = 200
REFUSALS = 20
LABELS = 30
NO_LABEL = "texts without labels"


class Course:
    """Loss and accuracy over the events learnt, in a bounded number of points.

    When there are twice :data:`POINTS` of them, each pair becomes one: the mean loss of both, and the accuracy of the
    later, which is a mean over a window already. So the whole course is kept, the older the coarser from there on.
    """

    def __init__(self) -> None:
        self.events: list[int] = []
        self.loss: list[float] = []
        self.accuracy: list[float | None] = []
        self._each = 1  # micro-batches in a point
        self._open: list[float] = []  # losses of the point that is not full yet
        self._now: tuple[int, float | None] = (0, 0.0)  # events and accuracy after the last of them

    def add(self, events: int, loss: float, accuracy: float | None) -> None:
        """Add a micro-batch with the mean `loss`, after which so many `events` have been learnt.

        `accuracy` is None where there are no labels.
        """
        self._open.append(loss)
        self._now = events, accuracy
        if len(self._open) < self._each:
            return
        self.events.append(events)
        self.loss.append(sum(self._open) / len(self._open))
        self.accuracy.append(accuracy)
        self._open = []
        if len(self.events) == 2 * POINTS:
            self._each *= 2
            pairs = zip(self.loss[::2], self.loss[1::2], strict=True)
            self.loss = [(first + second) / 2 for first, second in pairs]
            self.events, self.accuracy = self.events[1::2], self.accuracy[1::2]

    def cut(self, events: int) -> None:
        """Forget what came after so many `events`."""
        kept = bisect_right(self.events, events)
        del self.events[kept:], self.loss[kept:], self.accuracy[kept:]
        self._open = []

    def view(self) -> dict[str, list[Any]]:
        """Return the points as lists, the one that is not full yet at their end."""
        last, accuracy = self._now
        unfinished = [sum(self._open) / len(self._open)] if self._open else []
        return {
            "events": self.events + [last] * len(unfinished),
            "loss": self.loss + unfinished,
            "accuracy": self.accuracy + [accuracy] * len(unfinished),
        }


class Live:
    """What there is to show.

    Parameters
    ----------
    topic, group
        What is learnt from, and as whom.

    """

    def __init__(self, *, topic: str, group: str) -> None:
        self._topic, self._group = topic, group
        self._lock = threading.Lock()
        self._course = Course()
        self._drifts: deque[dict[str, Any]] = deque(maxlen=MARKS)
        self._publishes: deque[dict[str, Any]] = deque(maxlen=MARKS)
        self._captured: dict[int, int] = {}
        self._reasons: Counter[str] = Counter()
        self._refusals: deque[dict[str, Any]] = deque(maxlen=REFUSALS)
        self._counts: dict[str, int] = {}
        self._step = 0
        self._latest: dict[str, float | None] | None = None
        self._snapshot: dict[str, Any] | None = None
        self._lag: dict[str, int] = {}
        self._experts: list[dict[str, Any]] = []
        self._buffer: dict[str, Any] = {"records": 0, "capacity": 0, "labels": []}

    def counted(self, step: int, counts: Mapping[str, int]) -> None:
        """Show how many records have become what, after `step`."""
        with self._lock:
            self._step, self._counts = step, dict(counts)

    def learnt(self, events: int, *, loss: float, accuracy: float | None) -> None:
        """Add a micro-batch to the course; `accuracy` is None where there are no labels."""
        with self._lock:
            self._latest = {"loss": loss, "accuracy": accuracy}
            self._course.add(events, loss, accuracy)

    def experts(self, by_name: Mapping[str, ExpertCourse]) -> None:
        """Show how each expert does."""
        shown = [
            {
                "name": name,
                "weight": one.weight,
                "loss": None if math.isnan(one.loss) else one.loss,
                "reason": one.reason,
                "since": one.since,
            }
            for name, one in by_name.items()
        ]
        with self._lock:
            self._experts = shown

    def drifted(self, events: int, detector: str) -> None:
        """Mark a drift."""
        with self._lock:
            self._drifts.append({"events": events, "detector": detector, "at": time.time()})

    def captured(self, version: int, events: int) -> None:
        """Remember that so many `events` have been learnt into `version`, which asks to be published."""
        with self._lock:
            self._captured = {version: events}

    def published(self, version: int) -> None:
        """Mark a publication."""
        with self._lock:
            self._snapshot = {"events": self._captured.get(version), "version": version, "at": time.time()}
            self._publishes.append(self._snapshot)

    def resumed(
        self, events: int, snapshot: dict[str, Any] | None, *, reasons: Mapping[str, int] | None = None
    ) -> None:
        """Go on after so many `events`, with the version of the newest `snapshot` and when it was published.

        The dead letters so far are as many as `reasons` says: what came after them is read again, and refused again.
        """
        with self._lock:
            self._reasons = Counter(reasons or {})
            self._course.cut(events)
            for marks in (self._drifts, self._publishes):
                kept = [mark for mark in marks if (mark["events"] or 0) <= events]
                marks.clear()
                marks.extend(kept)
            self._snapshot = snapshot

    def refused(self, reason: str) -> None:
        """Count a dead letter; its text is nobody's business here."""
        with self._lock:
            self._reasons[reason] += 1
            self._refusals.append({"reason": reason, "at": time.time()})

    def standing(self, lag: Mapping[Partition, int], labels: Mapping[Label, int], capacity: int) -> None:
        """Show the lag of each partition and what the buffer holds of each label."""
        most = Counter({str(label) or NO_LABEL: held for label, held in labels.items()}).most_common(LABELS)
        with self._lock:
            self._lag = {f"{topic}/{partition}": records for (topic, partition), records in sorted(lag.items())}
            self._buffer = {"records": sum(labels.values()), "capacity": capacity, "labels": most}

    def view(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        with self._lock:
            return {
                "topic": self._topic,
                "group": self._group,
                "step": self._step,
                "counts": self._counts,
                "course": self._course.view(),
                "latest": self._latest,
                "drifts": list(self._drifts),
                "publishes": list(self._publishes),
                "snapshot": self._snapshot,
                "experts": self._experts,
                "lag": self._lag,
                "buffer": self._buffer,
                "dead_letters": {"reasons": dict(self._reasons.most_common()), "last": list(self._refusals)},
                "now": time.time(),
            }
