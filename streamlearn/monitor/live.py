"""The contents of the live page: the course of the learner, of bounded size, and its current state.

The learning thread updates it, the server's thread reads it; neither waits for more than a copy of some lists, from
which the view is then made. The past goes into each checkpoint as a :class:`~streamlearn.monitor.history.History`, and
is restored from there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import asdict, replace

from streamlearn.events import Label
from streamlearn.monitor.course import Course
from streamlearn.monitor.experts import ExpertCourse
from streamlearn.monitor.history import Drift, History, Publication, Refusal, write
from streamlearn.monitor.predictions import Predictions, matrix, recalls
from streamlearn.records import Partition, Positions, Record
from streamlearn.reports import Standing
from streamlearn.terminal import escaped

MARKS = 200
REFUSALS = 20
LABELS = 30


class Live:
    """The data of the live page.

    Parameters
    ----------
    topic, group
        The topic learnt from, and the consumer group.
    labelled
        Whether labels are learnt; for a language model nothing about labels is shown.
    window
        How many of the newest events the figure covers.

    """

    def __init__(self, *, topic: str, group: str, labelled: bool = True, window: int = 500) -> None:
        self._fixed = {"topic": topic, "group": group, "labelled": labelled, "window": window}
        self._labelled = labelled
        self._lock = threading.Lock()
        self._course = Course()
        self._loss: float | None = None
        self._drifts: deque[Drift] = deque(maxlen=MARKS)
        self._publications: deque[Publication] = deque(maxlen=MARKS)
        self._refusals: deque[Refusal] = deque(maxlen=REFUSALS)
        self._predictions = Predictions(window)
        self._captured: dict[int, int] = {}
        self._standing = Standing()
        self._snapshot: dict[str, Any] | None = None
        self._lag: dict[str, int] = {}
        self._experts: dict[str, ExpertCourse] = {}

    # What happens.

    def stands(self, standing: Standing) -> None:
        """Show the counts and figures of `standing`."""
        with self._lock:
            self._standing = standing

    def learnt(self, loss: float, labels: Sequence[Label] = (), predicted: Sequence[Label | None] = ()) -> None:
        """Add a micro-batch to the course; :meth:`stands` has been called with the standing after it.

        `labels` and `predicted` have one entry for each fresh event.
        """
        with self._lock:
            self._loss = loss
            self._course.add(self._standing.counts["trained"], loss, self._standing.figure)
            self._predictions.add(labels, predicted)

    def experts(self, by_name: Mapping[str, ExpertCourse]) -> None:
        """Show the state of each expert."""
        copy = {name: replace(course) for name, course in by_name.items()}
        with self._lock:
            self._experts = copy

    def drifted(self, detector: str) -> None:
        """Mark a drift after the last micro-batch."""
        with self._lock:
            self._drifts.append(Drift(self._standing.counts["trained"], detector, time.time()))

    def captured(self, version: int, events: int) -> None:
        """Remember that `version`, a candidate for publication, has learnt so many `events`."""
        with self._lock:
            self._captured = {version: events}

    def published(self, version: int) -> None:
        """Mark a publication."""
        with self._lock:
            self._publish(Publication(version, self._captured.get(version), time.time()))

    def _publish(self, publication: Publication) -> None:
        self._publications.append(publication)
        self._snapshot = asdict(publication)

    def refused(self, record: Record, reason: str, detail: str) -> None:
        """Show a dead letter, without its text."""
        with self._lock:
            place = record.topic, record.partition, record.offset
            self._refusals.append(Refusal(reason, escaped(detail), *place, at=time.time()))

    def lags(self, lag: Mapping[Partition, int]) -> None:
        """Show the lag of each partition."""
        by_name = {f"{topic}/{partition}": records for (topic, partition), records in sorted(lag.items())}
        with self._lock:
            self._lag = by_name

    def recalls(self, most: int) -> dict[str, float]:
        """Return the recall of up to `most` labels, as :func:`~streamlearn.monitor.predictions.recalls` does."""
        with self._lock:
            counts = self._predictions.counts() if self._labelled else {}
        return recalls(counts, most=most)

    # What is kept.

    def history(self) -> bytes:
        """Return the past in the format of :func:`~streamlearn.monitor.history.read`."""
        with self._lock:
            return write(
                History(
                    step=self._standing.step,
                    counts=self._standing.counts,
                    reasons=self._standing.reasons,
                    course=self._course,
                    loss=self._loss,
                    drifts=list(self._drifts),
                    publications=list(self._publications),
                    refusals=list(self._refusals),
                    experts=self._experts,
                    predicted=self._predictions.kept(),
                )
            )

    def recalled(self, history: History, newest: Publication | None) -> None:
        """Show `history` and the `newest` publication, until this learner takes over from there."""
        with self._lock:
            self._standing, self._lag = history.standing(labelled=self._labelled), {}
            self._take(history)
            self._add(newest)

    def resumed(self, standing: Standing, history: History | None, newest: Publication | None) -> None:
        """Continue from `standing`, with its `history` and the `newest` publication.

        What came after `standing` is left out: it is learnt, or refused, again. Without a history, which older versions
        did not store, what this process itself has seen before is kept.
        """
        trained = standing.counts["trained"]
        with self._lock:
            self._standing = standing
            if history:
                self._take(history)
            self._course.cut(trained)
            self._refill(
                [drift for drift in self._drifts if drift.events <= trained],
                [publication for publication in self._publications if (publication.events or 0) <= trained],
                [refusal for refusal in self._refusals if _is_before(refusal, standing.positions)],
            )
            self._add(newest)

    def _take(self, history: History) -> None:
        self._predictions.load(history.predicted)
        self._course, self._loss, self._experts = history.course, history.loss, history.experts
        self._refill(history.drifts, history.publications, history.refusals)

    def _add(self, newest: Publication | None) -> None:
        """Make the `newest` publication the last one: it may be newer than the checkpoint of its step."""
        self._snapshot = None
        if newest:
            self._publications = deque((one for one in self._publications if one.version < newest.version), MARKS)
            self._publish(newest)

    def _refill(
        self, drifts: Sequence[Drift], publications: Sequence[Publication], refusals: Sequence[Refusal]
    ) -> None:
        self._drifts = deque(drifts, maxlen=MARKS)
        self._publications = deque(publications, maxlen=MARKS)
        self._refusals = deque(refusals, maxlen=REFUSALS)

    def view(self) -> dict[str, Any]:
        """Return the page's data as plain values."""
        with self._lock:  # what is not copied here is never mutated, only replaced
            standing, loss, snapshot = self._standing, self._loss, self._snapshot
            experts, lag = self._experts, self._lag
            course, counts = self._course.view(), self._predictions.counts()
            drifts, publications, refusals = list(self._drifts), list(self._publications), list(self._refusals)
        figure = "accuracy" if self._labelled else "bits_per_byte"
        return {
            **self._fixed,
            "step": standing.step,
            "counts": dict(standing.counts),
            "course": course,
            "latest": {figure: standing.figure, "loss": loss},
            "predictions": matrix(counts) if self._labelled else None,
            "drifts": [asdict(drift) for drift in drifts],
            "publishes": [asdict(publication) for publication in publications],
            "snapshot": snapshot,
            "experts": [
                {"name": name, "weight": one.weight, "loss": one.loss, "reason": one.reason, "since": one.since}
                for name, one in experts.items()
            ],
            "lag": lag,
            "buffer": {
                "records": standing.buffer_records,
                "capacity": standing.buffer_capacity,
                "labels": _most(standing.by_label) if self._labelled else [],
            },
            "dead_letters": {
                "reasons": dict(standing.reasons.most_common()),
                "last": [asdict(refusal) for refusal in refusals],
            },
            "now": time.time(),
        }


def _most(by_label: Mapping[Label, int]) -> list[tuple[str, int]]:
    """Return the labels with the most held events, as shown, and their counts; 1 and "1" are shown as one."""
    held = Counter[str]()
    for label, events in by_label.items():
        held[str(label)] += events
    return [(escaped(label), events) for label, events in held.most_common(LABELS)]


def _is_before(refusal: Refusal, positions: Positions) -> bool:
    """Whether the record of `refusal` is before `positions`, so that it is not refused again."""
    return refusal.offset < positions.get((refusal.topic, refusal.partition), 0)
