"""Every series streamlearn exports, declared in one class. The names are a contract with rules and dashboards."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

import torch
import transformers
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

import streamlearn
from streamlearn.events import Outcome, Reason
from streamlearn.records import Partition

OUTCOMES = tuple(outcome.value for outcome in Outcome)
NO_FRESH = "no_fresh"  # a micro-batch of which every event was held out, refused or a duplicate
DETECTORS = ("loss", "error")
DROPPED = ("not_finite", "runaway")  # why an expert is left out
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
MOST_LABELS = 50  # of the stream's: each is a series, in Prometheus for as long as it remembers
AGES = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)


class Metrics:
    """The series in one registry. Known label values start at 0, so that a rate never misses the first.

    Parameters
    ----------
    registry
        Where they are registered.
    labelled
        Whether the hold-out is judged by accuracy, and not, as a language model is, by bits per byte.

    """

    _with_lag: frozenset[Partition] = frozenset()
    _with_recall: frozenset[str] = frozenset()

    def __init__(self, registry: CollectorRegistry, *, labelled: bool = True) -> None:
        self.registry, self._labelled = registry, labelled

        def counter(name: str, text: str, labels: Iterable[str] = ()) -> Counter:
            return Counter(f"streamlearn_{name}", text, tuple(labels), registry=registry)

        def gauge(name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
            return Gauge(f"streamlearn_{name}", text, tuple(labels), registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float] = SECONDS) -> Histogram:
            return Histogram(f"streamlearn_{name}", text, buckets=tuple(buckets), registry=registry)

        self.events = counter("events_total", "Records dealt with, by what became of them.", ["outcome"])
        self.dead_letters = counter("dead_letters_total", "Records refused, by reason.", ["reason"])
        self.steps = counter("steps_total", "Steps applied to the weights.")
        self.steps_skipped = counter("steps_skipped_total", "Steps not applied, by reason.", ["reason"])
        self.replayed_events = counter("replayed_events_total", "Events trained on again from the buffer.")
        self.loss_sum = counter("loss_sum_total", "Sum of the prequential losses; by trained events it is the mean.")
        self.drift_detections = counter("drift_detections_total", "Rises of the mean detected.", ["detector"])
        self.publishes = counter("publishes_total", "Snapshots by outcome.", ["outcome"])
        self.checkpoints = counter("checkpoints_total", "Checkpoints by outcome.", ["outcome"])
        self.rebalances = counter("rebalances_total", "Partition assignments received from the group.")
        self.predictions_correct = counter("predictions_correct_total", "Fresh events predicted correctly.")
        self.expert_dropped = counter(
            "expert_dropped_total", "Steps that an expert was left out of, by reason.", ["expert", "reason"]
        )

        self.lag = gauge("consumer_lag_records", "Records between position and log end.", ["topic", "partition"])
        self.buffer_records = gauge("buffer_records", "Events in the replay buffer.")
        self.buffer_capacity = gauge("buffer_capacity_records", "Events the replay buffer may hold.")
        self.loss = gauge("loss", "Mean loss of the last micro-batch, before it was learnt.")
        self.learning_rate = gauge(
            "learning_rate", "The transformer's learning rate in the last step, its head's apart."
        )
        self.gradient_norm = gauge("gradient_norm", "Norm of the transformer's last gradient before clipping.")
        self.accuracy = gauge("prequential_accuracy_ratio", "Test-then-train accuracy over the window.")
        self.label_recall = gauge(
            "label_recall_ratio",
            "Share of a label's events in the accuracy's window that were predicted right; "
            f"only the {MOST_LABELS} labels with most events there are shown.",
            ["label"],
        )
        self.holdout_accuracy = gauge(
            "holdout_accuracy_ratio", "Accuracy on events never trained on.", ["split", "role"]
        )
        self.perplexity = gauge("perplexity", "Test-then-train perplexity over the window, of a language model.")
        self.bits_per_byte = gauge("bits_per_byte", "Test-then-train bits per byte over the window, likewise.")
        self.holdout_bits_per_byte = gauge(
            "holdout_bits_per_byte", "A language model's bits per byte of texts never trained on.", ["split", "role"]
        )
        self.drift_score = gauge("drift_score", "Mean of the signal in the detector's window.", ["detector"])
        self.expert_loss = gauge(
            "expert_loss", "Moving mean of the expert's own prequential loss, calibrated.", ["expert"]
        )
        self.expert_weight = gauge("expert_weight", "The expert's weight in the mixture; 0 while left out.", ["expert"])
        self._with_experts: set[str] = set()
        self.kafka_up = gauge("kafka_up", "1 while Kafka answers, 0 while it is waited for.")
        self.active = gauge("active", "1 for the active learner, 0 for a standby.")
        self.paused = gauge("paused", "1 for an active learner that an operator has paused.")
        self.snapshot_version = gauge("snapshot_version", "Version of the newest published snapshot.")
        self.last_event = gauge("last_event_timestamp_seconds", "When the last record was taken in.")
        self.last_step = gauge("last_step_timestamp_seconds", "When the last step was applied.")
        self.last_checkpoint = gauge("last_checkpoint_timestamp_seconds", "When the last checkpoint was written.")
        self.last_commit = gauge("last_commit_timestamp_seconds", "When the group last took offsets.")
        self.last_publish = gauge("last_publish_timestamp_seconds", "When the last snapshot was published.")
        self.heartbeat = gauge("heartbeat_timestamp_seconds", "When the loop last came round.")

        self.step_duration = histogram("step_duration_seconds", "One micro-batch learnt, from texts to new weights.")
        self.poll_duration = histogram("poll_duration_seconds", "One poll of Kafka with decoding.")
        self.checkpoint_duration = histogram("checkpoint_duration_seconds", "Writing one checkpoint.")
        self.publish_duration = histogram("publish_duration_seconds", "Writing one snapshot.")
        self.event_age = histogram("event_age_at_step_seconds", "Event time to step: the freshness.", AGES)
        self.publish_stall = histogram("publish_stall_seconds", "Learning stopped to copy or evaluate the weights.")

        self._say_what_runs()
        self._start_at_zero()

    def _say_what_runs(self) -> None:
        Info("streamlearn_build", "What runs.", registry=self.registry).info(
            {
                "version": streamlearn.__version__,
                "python": ".".join(map(str, sys.version_info[:3])),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            }
        )
        ProcessCollector(registry=self.registry)

    def _start_at_zero(self) -> None:
        for counter, values in (
            (self.events, OUTCOMES),
            (self.dead_letters, [reason.value for reason in Reason]),
            (self.steps_skipped, (Reason.NOT_FINITE.value, Reason.MODEL_ERROR.value, NO_FRESH)),
            (self.drift_detections, DETECTORS),
            (self.publishes, ("published", "rejected", "failed")),
            (self.checkpoints, ("written", "failed")),
        ):
            for value in values:
                counter.labels(value)

    def expert(self, name: str, weight: float, loss: float | None) -> None:
        """Show an expert's `weight` and mean `loss`, None before there is one; it may be left out from here on."""
        if name not in self._with_experts:
            self._with_experts.add(name)
            for reason in DROPPED:
                self.expert_dropped.labels(name, reason)
        self.expert_weight.labels(name).set(weight)
        if loss is not None:
            self.expert_loss.labels(name).set(loss)

    def checkpointed(self, outcome: str, seconds: float) -> None:
        """Count a checkpoint that was ``written`` or ``failed``."""
        self.checkpoints.labels(outcome).inc()
        self.checkpoint_duration.observe(seconds)
        if outcome == "written":
            self.last_checkpoint.set_to_current_time()

    def evaluated(self, role: str, accuracy: Mapping[str, float | None]) -> None:
        """Show the hold-out accuracy of the ``candidate`` or the ``champion`` on each split that has events.

        Of a language model it is the bits per byte.
        """
        gauge = self.holdout_accuracy if self._labelled else self.holdout_bits_per_byte
        for split, value in accuracy.items():
            if value is not None:
                gauge.labels(split, role).set(value)

    def published(self, outcome: str, version: int, seconds: float, accuracy: Mapping[str, float | None]) -> None:
        """Count a snapshot that was ``published``, ``rejected`` or ``failed``; a published one is the champion."""
        self.publishes.labels(outcome).inc()
        self.publish_duration.observe(seconds)
        if outcome == "published":
            self.snapshot_version.set(version)
            self.evaluated("champion", accuracy)
            self.last_publish.set_to_current_time()

    def set_recall(self, recall: Mapping[str, float]) -> None:
        """Show the recall of these labels and drop the series of all others."""
        for label in self._with_recall - recall.keys():
            self.label_recall.remove(label)
        for label, share in recall.items():
            self.label_recall.labels(label).set(share)
        self._with_recall = frozenset(recall)

    def set_lag(self, lag: Mapping[Partition, int]) -> None:
        """Show the lag of the assigned partitions and drop the series of all others."""
        for partition in self._with_lag - lag.keys():
            self.lag.remove(*partition)
        for partition, records in lag.items():
            self.lag.labels(*partition).set(records)
        self._with_lag = frozenset(lag)
