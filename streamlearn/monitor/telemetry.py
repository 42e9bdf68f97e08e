"""What the learner does, told to whoever looks on: as metrics, on the live page and in the log."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from typing import Any

from streamlearn.events import Reason
from streamlearn.learner import Learner
from streamlearn.monitor.live import Live
from streamlearn.monitor.metrics import NO_FRESH, Metrics
from streamlearn.publisher.progress import Accuracy
from streamlearn.publisher.publisher import Capture
from streamlearn.reports import StepReport

log = logging.getLogger(__name__)

TRIED = {Reason.NOT_FINITE, Reason.MODEL_ERROR}
"""The reasons that show themselves only when a text goes through the model."""


class Telemetry:
    """Turns what happens into metrics, the live page's course and log lines.

    Parameters
    ----------
    metrics, live
        Where it is shown.

    """

    def __init__(self, metrics: Metrics, live: Live) -> None:
        self._metrics, self._live = metrics, live

    def resumed(self, learner: Learner, snapshot: dict[str, Any] | None) -> None:
        """Show `learner` as a checkpoint has left it, and the manifest of the newest `snapshot`."""
        self._show(learner)
        self._live.counted(learner.step, learner.counts)
        shown = {"version": snapshot["version"], "at": snapshot["created"]} if snapshot else None
        self._live.resumed(learner.counts["trained"], shown, reasons=learner.reasons)
        if snapshot:
            self._metrics.snapshot_version.set(snapshot["version"])
            self._metrics.last_publish.set(snapshot["created"])
            self._metrics.evaluated("champion", snapshot["metrics"]["holdout_accuracy"])

    def step(self, learner: Learner, report: StepReport, seconds: float) -> None:
        """Show `report`, of a micro-batch that took `seconds`."""
        metrics, result, now = self._metrics, report.result, time.time()
        for outcome, count in report.outcomes.items():
            metrics.events.labels(outcome.value).inc(count)
        metrics.last_event.set(now)
        self._live.counted(learner.step, learner.counts)
        if report.refused:
            self._tell_refused(report)
        if result is None or not result.applied:
            metrics.steps_skipped.labels(_why_skipped(report)).inc()
            return
        metrics.steps.inc()
        metrics.last_step.set(now)
        metrics.step_duration.observe(seconds)
        metrics.replayed_events.inc(report.replayed)
        metrics.loss_sum.inc(float(result.losses.sum()))
        metrics.predictions_correct.inc(int(result.correct.sum()))
        metrics.loss.set(result.loss)
        metrics.learning_rate.set(result.learning_rate)
        metrics.gradient_norm.set(result.gradient_norm)
        for event in report.learnt:
            if event.timestamp:  # 0 is unknown
                metrics.event_age.observe(max(0.0, now - event.timestamp))
        self._show(learner)
        trained = learner.counts["trained"]
        self._live.learnt(trained, loss=float(result.losses.mean()), accuracy=learner.accuracy.value)
        for rise in report.rises:
            metrics.drift_detections.labels(rise.detector).inc()
            self._live.drifted(trained, rise.detector)
            source = f"{rise.event.topic}/{rise.event.partition}/{rise.event.offset}"
            log.warning("drift: the mean of the %s has risen, detected at %s", rise.detector, source)

    def _tell_refused(self, report: StepReport) -> None:
        """Say what could not be learnt or predicted, by reason and never by text."""
        counts = Counter(reason.value for _, reason in report.refused if reason in TRIED)
        if counts:
            found = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
            log.warning(
                "step %d: %d events learnt, refused as dead letters: %s", report.step, len(report.learnt), found
            )

    def _show(self, learner: Learner) -> None:
        metrics = self._metrics
        if not math.isnan(learner.accuracy.value):
            metrics.accuracy.set(learner.accuracy.value)
        metrics.buffer_records.set(len(learner.buffer))
        metrics.buffer_capacity.set(learner.buffer.records)
        for name, detector in learner.detectors.items():
            metrics.drift_score.labels(name).set(detector.mean)

    def captured(self, learner: Learner, capture: Capture) -> None:
        """Show the accuracy of a candidate, and remember how much was learnt into it."""
        self._metrics.evaluated("candidate", capture.accuracy)
        self._live.captured(capture.version, learner.counts["trained"])

    def refused(self, reason: Reason) -> None:
        """Count a dead letter."""
        self._metrics.dead_letters.labels(reason.value).inc()
        self._live.refused(reason.value)

    def checkpointed(self, outcome: str, seconds: float) -> None:
        """Count a checkpoint that was ``written`` or ``failed``."""
        self._metrics.checkpointed(outcome, seconds)

    def published(self, outcome: str, version: int, seconds: float, accuracy: Accuracy) -> None:
        """Count a snapshot that was ``published``, ``rejected`` or ``failed``."""
        self._metrics.published(outcome, version, seconds, accuracy)
        if outcome == "published":
            self._live.published(version)


def _why_skipped(report: StepReport) -> str:
    """Return why the step of `report` was not applied: the first event's reason, where there was any to learn."""
    if not report.batch.fresh:
        return NO_FRESH
    return next((reason.value for _, reason in report.refused if reason in TRIED), NO_FRESH)
