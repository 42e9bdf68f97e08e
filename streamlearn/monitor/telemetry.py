"""Shows what a step did and where the learner stands, as metrics, on the live page and in the log."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter

from streamlearn.events import Reason
from streamlearn.monitor.experts import Experts
from streamlearn.monitor.live import Live
from streamlearn.monitor.metrics import NO_FRESH, Metrics
from streamlearn.reports import Standing, StepReport, StepResult

log = logging.getLogger(__name__)

TRIED = {Reason.NOT_FINITE, Reason.MODEL_ERROR}
"""The reasons that can be found only when a text goes through the model."""


def show_step(
    metrics: Metrics, live: Live, experts: Experts, standing: Standing, report: StepReport, seconds: float
) -> None:
    """Show `report` of a step that took `seconds`, the state of its `experts`, and the learner's standing after it."""
    result, now = report.result, time.time()
    for outcome, count in report.outcomes.items():
        metrics.events.labels(outcome.value).inc(count)
    metrics.last_event.set(now)
    live.stands(standing)
    if report.refused:
        _log_refused(report)
    if result is not None:
        _show_experts(metrics, live, experts, result, now)
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
    show_standing(metrics, standing)
    labels = [event.label for event in report.learnt] if result.predicted else []
    live.learnt(float(result.losses.mean()), labels, result.predicted)
    for rise in report.rises:
        metrics.drift_detections.labels(rise.detector).inc()
        live.drifted(rise.detector)
        source = f"{rise.event.topic}/{rise.event.partition}/{rise.event.offset}"
        log.warning("drift: the mean of the %s has risen, detected at %s", rise.detector, source)


def show_standing(metrics: Metrics, standing: Standing) -> None:
    """Show the figures that do not depend on what the last step did."""
    for gauge, value in (
        (metrics.accuracy, standing.accuracy),
        (metrics.perplexity, standing.perplexity),
        (metrics.bits_per_byte, standing.bits_per_byte),
    ):
        if not math.isnan(value):
            gauge.set(value)
    metrics.buffer_records.set(standing.buffer_records)
    metrics.buffer_capacity.set(standing.buffer_capacity)
    for name, mean in standing.drift_means.items():
        metrics.drift_score.labels(name).set(mean)


def _show_experts(metrics: Metrics, live: Live, experts: Experts, result: StepResult, now: float) -> None:
    """Show how each expert did in the step, even if it was not applied because all were left out."""
    experts.stepped(result, now)
    for name, course in experts.by_name.items():
        metrics.expert(name, course.weight, course.loss)
    for name, reason in result.dropped.items():
        metrics.expert_dropped.labels(name, reason).inc()
    live.experts(experts.by_name)


def _log_refused(report: StepReport) -> None:
    """Log what could not be learnt or predicted, by reason and never by text."""
    counts = Counter(reason.value for _, reason in report.refused if reason in TRIED)
    if counts:
        found = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        log.warning("step %d: %d events learnt, refused as dead letters: %s", report.step, len(report.learnt), found)


def _why_skipped(report: StepReport) -> str:
    """Return why the step of `report` was not applied: the first event's reason, if there were events to learn."""
    if not report.batch.fresh:
        return NO_FRESH
    return next((reason.value for _, reason in report.refused if reason in TRIED), NO_FRESH)
