"""What a micro-batch did, as metrics and log lines."""

from __future__ import annotations

import logging
import time

from streamlearn.events import Reason
from streamlearn.learner import Learner, StepReport
from streamlearn.monitor.metrics import NO_FRESH, Metrics

log = logging.getLogger(__name__)


def show(metrics: Metrics, learner: Learner, report: StepReport, seconds: float) -> None:
    """Turn `report`, of a micro-batch that took `seconds`, into `metrics`."""
    result, now = report.result, time.time()
    for outcome, count in report.outcomes.items():
        metrics.events.labels(outcome.value).inc(count)
    metrics.last_event.set(now)
    if result is None or not result.applied:
        metrics.steps_skipped.labels(NO_FRESH if result is None else Reason.NOT_FINITE.value).inc()
        if result:
            log.warning("step %d is skipped: its loss or gradient is not finite", report.step)
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
    metrics.accuracy.set(learner.accuracy.value)
    metrics.buffer_records.set(len(learner.buffer))
    metrics.buffer_capacity.set(learner.buffer.records)
    for event in report.batch.fresh:
        metrics.event_age.observe(max(0.0, now - event.timestamp))
    for name, detector in learner.detectors.items():
        metrics.drift_score.labels(name).set(detector.mean)
    for rise in report.rises:
        metrics.drift_detections.labels(rise.detector).inc()
        source = f"{rise.event.topic}/{rise.event.partition}/{rise.event.offset}"
        log.warning("drift: the mean of the %s has risen, detected at %s", rise.detector, source)
