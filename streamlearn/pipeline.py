"""The loop: consumer → buffer → updater → publisher, with the monitor looking on.

One event's way from Kafka to ``latest``:

1. ``consumer/consumer.py`` polls it, decodes it (or refuses it: ``consumer/dead_letters.py``) and queues it;
2. ``consumer/intake.py`` takes it into a micro-batch, unless admission finds a duplicate or holds it out;
3. ``learner.py`` predicts it, learns it together with replayed events and puts it into the buffer;
4. ``publisher/publisher.py`` writes the checkpoint that contains it, commits its offset and publishes the
   snapshot that was learnt from it.
"""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from streamlearn.config import Config
from streamlearn.consumer.client import make_producer, require_topics
from streamlearn.consumer.consumer import Consumer, Watch
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.intake import Intake, MicroBatch
from streamlearn.errors import StateError
from streamlearn.events import Reason
from streamlearn.learner import Learner, StepReport
from streamlearn.monitor.metrics import NO_FRESH, Metrics
from streamlearn.monitor.server import Health, Server
from streamlearn.publisher.journal import Entry
from streamlearn.publisher.publisher import Capture, Publisher
from streamlearn.recovery import reread

log = logging.getLogger(__name__)

SETTLE_SECONDS = 30.0
LAG_SECONDS = 1.0


class Pipeline:
    """Runs the learner over the topic until it is told to stop.

    Parameters
    ----------
    config
        The whole configuration.
    on_step
        Called after each micro-batch, on the learning thread.
    stopping
        Set by whoever wants the loop to end, as :meth:`stop` does.

    """

    def __init__(
        self,
        config: Config,
        *,
        on_step: Callable[[StepReport], None] = lambda _: None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._config = config
        self._on_step = on_step
        self._stopping = stopping or threading.Event()
        self._lag_at = 0.0
        self.metrics = Metrics(CollectorRegistry())
        self.health = Health(config.monitor.heartbeat_timeout_seconds)
        self.dead_letters = DeadLetters(
            partial(make_producer, config.kafka), config.kafka.dead_letter_topic, refused=self._count_refusal
        )
        self._decoder = Decoder(config.events)
        self.consumer = Consumer(
            config.kafka,
            decoder=self._decoder,
            dead_letters=self.dead_letters,
            watch=Watch(
                polled=self.metrics.poll_duration.observe,
                assigned=self._assigned,
                skipped=self.metrics.events.labels("skipped").inc,
            ),
        )
        self.publisher = Publisher(
            config.publisher,
            configuration=config.decisive(),
            settle=lambda: self.dead_letters.settle(SETTLE_SECONDS),
            commit=self.consumer.commit,
            progress=self.metrics,
        )
        self.server: Server | None = None

    def stop(self) -> None:
        """Ask the loop to finish its step, checkpoint, publish, commit and leave."""
        self._stopping.set()

    def run(self) -> None:
        """Learn until :meth:`stop` is called.

        Raises
        ------
        ConfigurationError
            If the model or the address of the server cannot be used.
        BrokerError
            If Kafka cannot be reached or refuses.
        StateError
            If no checkpoint can be read although there are some, or another learner uses the directory.

        """
        config = self._config
        with ExitStack() as stack:
            stack.callback(lock(config.publisher.directory))
            self.server = Server(
                host=config.monitor.host,
                port=config.monitor.port,
                registry=self.metrics.registry,
                health=self.health,
            )
            self.server.start()
            stack.callback(self.server.stop)
            require_topics(config.kafka)
            learner = Learner(config)
            self._restore(learner)
            self.health.model_loaded = True
            self.publisher.start(learner.step)
            stack.callback(self.publisher.stop)
            self._republish(learner)
            self.dead_letters.start()
            stack.callback(self.dead_letters.stop)
            if self._recover(learner):
                self.consumer.start(learner.positions)
                stack.callback(self.consumer.stop)
                self._learn(learner)

    def _learn(self, learner: Learner) -> None:
        """Consumer → buffer → updater → publisher, until told to stop."""
        updater = self._config.updater
        intake = Intake(
            self.consumer.queue, learner.admission, size=updater.micro_batch, max_wait=updater.max_wait_seconds
        )
        while not self._stopping.is_set():
            batch = intake.next(stopping=self._stopping.is_set)
            if batch:
                self.publisher.journal.append(Entry(learner.step + 1, batch.ranges))
                self._step(learner, batch)
            self._beat(learner)
            checkpoint, snapshot = self.publisher.due(learner.step)
            if checkpoint:
                self.publisher.submit(self._capture(learner, snapshot=snapshot))
        self._finish(learner)

    def _step(self, learner: Learner, batch: MicroBatch) -> None:
        """Learn `batch`, show it, send what it refused to the dead letters, and tell whoever looks on."""
        started = time.perf_counter()
        report = learner.learn(batch)
        self._show(learner, report, time.perf_counter() - started)
        for record, reason in report.refused:
            self.dead_letters.put(record, reason)
        self._on_step(report)

    def _capture(self, learner: Learner, *, snapshot: bool) -> Capture:
        """Copy the learner; learning waits for this, and for the evaluation of a candidate."""
        with self.metrics.publish_stall.time():
            if not snapshot:
                return Capture(learner.step, learner.state(), dict(learner.positions), learner.version)
            accuracy = learner.holdout_accuracy()
            self.metrics.evaluated("candidate", accuracy)
            learner.version = max(learner.version, self.publisher.snapshots.latest() or 0) + 1
            state = learner.state()
            return Capture(
                step=learner.step,
                state=state,
                positions=dict(learner.positions),
                version=learner.version,
                export=learner.export(state),
                accuracy=accuracy,
                provenance=self._provenance(learner, accuracy),
            )

    def _provenance(self, learner: Learner, accuracy: dict[str, float | None]) -> dict[str, object]:
        prequential = learner.accuracy.value
        return {
            "positions": {f"{topic}/{part}": offset for (topic, part), offset in sorted(learner.positions.items())},
            "events": dict(learner.counts),
            "metrics": {
                "prequential_accuracy": prequential if prequential == prequential else None,  # noqa: PLR0124 - NaN
                "holdout_accuracy": accuracy,
            },
            "model": self._config.updater.model,
            "config_digest": self._config.digest(),
            "created": time.time(),
        }

    def _finish(self, learner: Learner) -> None:
        """Checkpoint and publish what has been learnt since the last time, and have it committed."""
        self.publisher.drain()
        snapshot = self.publisher.unpublished(learner.step)
        if snapshot or self.publisher.unwritten(learner.step):
            self.publisher.submit(self._capture(learner, snapshot=snapshot))
            self.publisher.drain()
        log.info("stopped at step %d", learner.step)

    def _restore(self, learner: Learner) -> None:
        """Load the newest checkpoint that is whole, naming each one that is not."""
        damaged = []
        for name, state in self.publisher.checkpoints.newest():
            if isinstance(state, StateError):
                log.error("checkpoint %s is refused: %s", name, state)
                damaged.append(name)
                continue
            learner.load(state)
            for refused in damaged:
                self.publisher.checkpoints.set_aside(refused)
            log.info("continuing at step %d with version %d", learner.step, learner.version)
            return
        if damaged:
            raise StateError(
                f"none of the checkpoints in {self.publisher.checkpoints.directory} can be used "
                f"({', '.join(damaged)}); restore one, or move them away to learn from the beginning"
            )
        log.info("starting with %s", self._config.updater.model)

    def _recover(self, learner: Learner) -> bool:
        """Take the steps after the checkpoint again, as they are recorded, and go on recording behind them.

        Returns False where it was told to stop before that: the checkpoint and the journal stay as they are.
        """
        entries = self.publisher.journal.entries(learner.step)
        if entries:
            log.info("taking the steps %d to %d again, as recorded", entries[0].step, entries[-1].step)
        deleted = self._config.publisher.journal.deleted
        for step in reread(entries, self._config.kafka, self._decoder, deleted=deleted):
            for record, reason in step.refused:
                self.dead_letters.put(record, reason)
            self.metrics.events.labels("skipped").inc(step.missing)
            self._step(learner, step.batch(learner.admission))
            self._beat(learner)
            if self._stopping.is_set() and learner.step < entries[-1].step:
                return False
        self.publisher.journal.begin(learner.step)
        return True

    def _republish(self, learner: Learner) -> None:
        """Publish the version that the checkpoint counts but that was not written when the learner was killed."""
        if learner.version > (self.publisher.snapshots.latest() or 0):
            learner.version -= 1
            self.publisher.submit(self._capture(learner, snapshot=True))

    def _assigned(self, mine: bool) -> None:
        self.health.assigned = mine
        self.metrics.active.set(mine)
        self.metrics.rebalances.inc()

    def _count_refusal(self, reason: Reason) -> None:
        self.metrics.dead_letters.labels(reason.value).inc()

    def _beat(self, learner: Learner) -> None:
        self.health.beat()
        self.metrics.heartbeat.set_to_current_time()
        now = time.monotonic()
        if now - self._lag_at >= LAG_SECONDS:
            self._lag_at = now
            self.metrics.set_lag(self.consumer.lag(learner.positions))

    def _show(self, learner: Learner, report: StepReport, seconds: float) -> None:
        """Turn what one micro-batch did into metrics."""
        metrics, result, now = self.metrics, report.result, time.time()
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


def lock(directory: Path) -> Callable[[], None]:
    """Claim `directory` for this process and return what releases it.

    Raises
    ------
    StateError
        If it cannot be written, or another learner has claimed it.

    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / "lock").open("w")
    except OSError as error:
        raise StateError(f"publisher.directory {directory} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StateError(f"publisher.directory {directory} is in use by another learner") from None
    return file.close
