"""The monitor: receives everything that happens and shows it, but makes no decisions.

Reports become metrics, the state of the probes, the live page, and the position in the stream on each log line. Most
come from the learning thread, the others from the threads of the consumer and the publisher.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from streamlearn.config import Config
from streamlearn.control import Control, Kept
from streamlearn.errors import StateError, StreamlearnError
from streamlearn.events import Outcome, Reason
from streamlearn.monitor.experts import Experts
from streamlearn.monitor.health import Health
from streamlearn.monitor.history import UNWRITABLE, History, Publication, read
from streamlearn.monitor.live import Live
from streamlearn.monitor.logs import START, Place
from streamlearn.monitor.metrics import MOST_LABELS, Metrics
from streamlearn.monitor.progress import Progress
from streamlearn.monitor.refusals import RefusalLog
from streamlearn.monitor.server import Server
from streamlearn.monitor.telemetry import TRIED, show_standing, show_step
from streamlearn.monitor.waiting import Waiting
from streamlearn.records import Partition, Record
from streamlearn.reports import Standing, StepReport
from streamlearn.storage.control_key import ControlKey
from streamlearn.terminal import STATUS

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
TAKING_OVER = "taking over: loading the newest checkpoint, then re-running the steps that the journal has behind it"
IDLE_SECONDS = 3.0  # without a step: longer than the interval of a beat, or the state would flicker on a slow topic


class Monitor:
    """Shows what a learner does.

    Parameters
    ----------
    config
        The section ``monitor``, the names of topic and group in ``kafka``, and the state directory.
    clock
        A monotonic clock in seconds.

    Attributes
    ----------
    metrics, health, live, waiting
        What is shown.
    control
        Requests of operators over its port.
    server
        Serves it; None before :meth:`start`.

    """

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.metrics = Metrics(CollectorRegistry(), labelled=config.labelled)
        self.health = Health(config.monitor.heartbeat_timeout_seconds)
        kafka, window = config.kafka, config.monitor.accuracy_window
        self.live = Live(topic=kafka.topic, group=kafka.group, labelled=config.labelled, window=window)
        self.control = Control()
        self.waiting = Waiting(self.health, self.control, kafka)
        self.server: Server | None = None
        self._key = ControlKey(config.publisher.directory)
        self._config, self._labelled, self._clock = config.monitor, config.labelled, clock
        self._looked, self._moved = -LOOK_SECONDS, 0.0
        self._place: Place = START
        self._experts = Experts(window)
        self._progress, self._refusals = Progress(), RefusalLog()
        self._unwritable = False

    def start(self) -> None:
        """Start the server; the errors are those of :class:`Server`."""
        if self._config.control == "loopback":
            self._make_key()
        self.server = Server(
            self._config,
            registry=self.metrics.registry,
            health=self.health,
            live=self.live,
            waiting=self.waiting,
            control=self.control,
            key=self._key,
        )
        self.server.start()
        log.info("page and metrics: %s", self.server.url)

    def _make_key(self) -> None:
        try:
            self._key.make()
        except (OSError, StateError) as error:
            log.warning("pause, resume, checkpoint and publish are refused until a restart: no key: %s", error)

    def stop(self) -> None:
        """Stop the server."""
        STATUS.end()
        if self.server:
            self.server.stop()

    @property
    def failed(self) -> StreamlearnError | None:
        """The error that has ended the server, or None."""
        return self.server.failed if self.server else None

    def place(self) -> Place:
        """Return where in the stream the learner is, for the log."""
        return self._place

    # What the loop tells.

    def beat(self, look: Callable[[], tuple[Standing, Mapping[Partition, int]]]) -> None:
        """Record a heartbeat of the loop, and about once a second show the learner's standing and lag, from `look`."""
        self.health.beat()
        self.metrics.heartbeat.set_to_current_time()
        self.metrics.paused.set(self.control.paused and self.health.active)
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        standing, lag = look()
        self.metrics.set_lag(lag)
        self.metrics.set_recall(self.live.recalls(MOST_LABELS) if self.health.active else {})
        if self.health.active:
            self.live.stands(standing)
            self.live.lags(lag)
        self.waiting.idle = now - self._moved >= IDLE_SECONDS
        self.waiting.behind = any(lag.values()) if lag else None
        self.waiting.view()  # to record since when
        self._refusals.tell()
        if self.health.active:
            self._progress.tell(standing, lag)

    def loaded(self) -> None:
        """Show that the model is loaded."""
        self.health.model_loaded = True

    def activated(self, active: bool) -> None:
        """Show whether this learner is the active one."""
        self.metrics.active.set(active)
        self.health.active = active
        self.waiting.takeover = TAKING_OVER if active else ""

    def taken_over(self) -> None:
        """Show that this learner has taken over from the last active one."""
        self.waiting.takeover = ""
        self._moved, self.waiting.idle = self._clock(), False

    def blocked(self, why: str) -> None:
        """Show why a takeover waits; empty once it continues."""
        self.waiting.takeover = f"takeover blocked, and retried: {why}" if why else TAKING_OVER

    def faulty(self, fault: str) -> None:
        """Show why nothing can be learnt, in a few words; empty otherwise."""
        self.health.fault = fault

    # What the learner has come to.

    def recalled(self, written: bytes, snapshot: dict[str, Any] | None) -> None:
        """Show the history in a checkpoint before this learner takes over from it; arguments as in :meth:`restored`."""
        if history := _read(written):
            self.live.recalled(history, _publication(snapshot))

    def restored(self, standing: Standing, snapshot: dict[str, Any] | None, written: bytes = b"") -> None:
        """Show the learner's standing in a checkpoint, and the manifest of the newest `snapshot`.

        `written` is what :meth:`history` returned then; empty if there is no checkpoint, or none with a history.
        """
        self._place = standing.place()
        show_standing(self.metrics, standing)
        history = _read(written) or (None if standing.step else History())  # before the first step the history is empty
        self.live.resumed(standing, history, _publication(snapshot))
        if history:  # the page's copy is shown while these continue
            self._experts.by_name = {name: replace(course) for name, course in history.experts.items()}
        if snapshot:
            self.metrics.snapshot_version.set(snapshot["version"])
            self.metrics.last_publish.set(snapshot["created"])
            figures = "holdout_accuracy" if self._labelled else "holdout_bits_per_byte"
            self.metrics.evaluated("champion", snapshot["metrics"].get(figures, {}))  # {} if it had another objective

    def history(self) -> bytes:
        """Return the page's history for a checkpoint; empty if it cannot be written."""
        try:
            history = self.live.history()
        except UNWRITABLE as error:
            if not self._unwritable:
                log.warning(
                    "checkpoints are without what the page shows of the past, which cannot be written: %s", error
                )
            self._unwritable = True
            return b""
        self._unwritable = False
        return history

    def stepped(self, standing: Standing, report: StepReport, seconds: float) -> None:
        """Show `report` of a step that took `seconds`, and the learner's standing after it."""
        self._place, self._moved = standing.place(), self._clock()
        self.waiting.idle = False
        show_step(self.metrics, self.live, self._experts, standing, report, seconds)

    def stalled(self) -> AbstractContextManager[Any]:
        """Return a context whose duration counts as time in which learning waits for a copy of the learner."""
        return self.metrics.publish_stall.time()

    def captured(self, standing: Standing, accuracy: Mapping[str, float | None]) -> None:
        """Show where a copy was made, and the hold-out `accuracy` of its candidate; empty if it has none."""
        self._place = standing.place()
        if accuracy:
            self.metrics.evaluated("candidate", accuracy)
            self.live.captured(standing.version, standing.counts["trained"])

    # What the consumer tells, on its own threads.

    def polled(self, seconds: float) -> None:
        """Count a poll that brought records."""
        self.metrics.poll_duration.observe(seconds)

    def decoded(self, events: int) -> None:
        """Count valid events, before the other records are refused."""
        self._refusals.decoded(events)

    def joined(self, joined: bool) -> None:
        """Show whether this learner is a member of the group, after each rebalance."""
        self.health.joined = joined
        self.metrics.rebalances.inc(joined)

    def skipped(self, records: int) -> None:
        """Count records that were deleted before they were read."""
        self.metrics.events.labels(Outcome.SKIPPED.value).inc(records)

    def committed(self) -> None:
        """Show that offsets have been committed to the group."""
        self.metrics.last_commit.set_to_current_time()

    def answered(self, answers: bool) -> None:
        """Show whether Kafka answers."""
        self.metrics.kafka_up.set(answers)
        self.health.kafka_answers = answers

    def waits(self, what: str) -> None:
        """Show what reading waits for, as in :class:`~streamlearn.source.Watch`."""
        self.waiting.reading = what

    def refused(self, reason: Reason) -> None:
        """Count a dead letter."""
        self.metrics.dead_letters.labels(reason.value).inc()

    def explained(self, record: Record, reason: Reason, detail: str) -> None:
        """Show a dead letter and the field that its reason concerns; some reasons are logged with each step instead."""
        self.live.refused(record, reason.value, detail)
        if reason not in TRIED:
            self._refusals.refused(f"{reason.value}: {detail}" if detail else reason.value)

    # What the publisher tells, on its own thread.

    def checkpointed(self, outcome: str, seconds: float, why: str = "") -> None:
        """Count a checkpoint that was ``written``, or ``failed`` and `why`."""
        self.waiting.checkpoint = why
        self.metrics.checkpointed(outcome, seconds)

    def published(self, outcome: str, version: int, seconds: float, accuracy: Mapping[str, float | None]) -> None:
        """Count a snapshot that was ``published``, ``rejected`` or ``failed``."""
        self.metrics.published(outcome, version, seconds, accuracy)
        if outcome == "published":
            self.live.published(version)

    def settled(self, kept: Kept) -> None:
        """Pass the outcome of a copy on to the operators who requested it."""
        self.control.settle(kept)


def _read(written: bytes) -> History | None:
    try:
        return read(written)
    except ValueError as error:
        log.warning("the page begins anew: what the checkpoint says of the past cannot be used: %s", error)
        return None


def _publication(snapshot: dict[str, Any] | None) -> Publication | None:
    """Return the publication described by the manifest of a `snapshot`."""
    if not snapshot:
        return None
    return Publication(snapshot["version"], snapshot.get("events", {}).get("trained"), snapshot["created"])
