"""The monitor: it is told everything that happens, shows it, and decides nothing.

What is told becomes metrics, the state of the probes, the live page, and the place in the stream that stands on each
line of the log. The learning thread tells it most; the threads of the consumer and of the publisher tell it theirs.
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
IDLE_SECONDS = 3.0  # without a step: some more than a look, or a topic with a trickle of events flickers


class Monitor:
    """Shows what a learner does.

    Parameters
    ----------
    config
        The section ``monitor``, of ``kafka`` the names of topic and group, and where the state is.
    clock
        A monotonic clock in seconds.

    Attributes
    ----------
    metrics, health, live, waiting
        What is shown.
    control
        What operators have asked for over its port.
    server
        Shows it; None before :meth:`start`.

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
        """Begin to answer; the errors are those of :class:`Server`."""
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
        """Stop answering."""
        STATUS.end()
        if self.server:
            self.server.stop()

    @property
    def failed(self) -> StreamlearnError | None:
        """What has ended the server, None while nothing has."""
        return self.server.failed if self.server else None

    def place(self) -> Place:
        """Return where in the stream the learner is, for the log."""
        return self._place

    # What the loop tells.

    def beat(self, look: Callable[[], tuple[Standing, Mapping[Partition, int]]]) -> None:
        """Show that the loop came round, and about once a second how the learner stands and its lag, by `look`."""
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
        self.waiting.view()  # so that it is known since when
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
        """Show that this learner goes on from where the last active one was."""
        self.waiting.takeover = ""
        self._moved, self.waiting.idle = self._clock(), False

    def blocked(self, why: str) -> None:
        """Show why a takeover waits, empty where it goes on."""
        self.waiting.takeover = f"takeover blocked, and retried: {why}" if why else TAKING_OVER

    def faulty(self, fault: str) -> None:
        """Show why learning comes to nothing, in a few words; empty where it comes to something."""
        self.health.fault = fault

    # What the learner has come to.

    def recalled(self, written: bytes, snapshot: dict[str, Any] | None) -> None:
        """Show what a checkpoint says of the past, before this learner takes over from it; as :meth:`restored` does."""
        if history := _read(written):
            self.live.recalled(history, _publication(snapshot))

    def restored(self, standing: Standing, snapshot: dict[str, Any] | None, written: bytes = b"") -> None:
        """Show how a checkpoint has left the learner, and the manifest of the newest `snapshot`.

        What :meth:`history` returned then is `written`; nothing where the checkpoint has none, or there is none yet.
        """
        self._place = standing.place()
        show_standing(self.metrics, standing)
        history = _read(written) or (None if standing.step else History())  # before the first step nothing has passed
        self.live.resumed(standing, history, _publication(snapshot))
        if history:  # the page's are shown while these go on
            self._experts.by_name = {name: replace(course) for name, course in history.experts.items()}
        if snapshot:
            self.metrics.snapshot_version.set(snapshot["version"])
            self.metrics.last_publish.set(snapshot["created"])
            figures = "holdout_accuracy" if self._labelled else "holdout_bits_per_byte"
            self.metrics.evaluated("champion", snapshot["metrics"].get(figures, {}))  # {}: it had another objective

    def history(self) -> bytes:
        """Return what the page remembers of what has passed, for a checkpoint; nothing where it cannot be written."""
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
        """Show `report` of a step that took `seconds`, and how the learner stands after it."""
        self._place, self._moved = standing.place(), self._clock()
        self.waiting.idle = False
        show_step(self.metrics, self.live, self._experts, standing, report, seconds)

    def stalled(self) -> AbstractContextManager[Any]:
        """Return a context that counts the seconds in it as time in which learning waits for a copy of the learner."""
        return self.metrics.publish_stall.time()

    def captured(self, standing: Standing, accuracy: Mapping[str, float | None]) -> None:
        """Show where a copy was made, and the hold-out `accuracy` of the candidate in it; empty where it is none."""
        self._place = standing.place()
        if accuracy:
            self.metrics.evaluated("candidate", accuracy)
            self.live.captured(standing.version, standing.counts["trained"])

    # What the consumer tells, on its own threads.

    def polled(self, seconds: float) -> None:
        """Count a poll that brought records."""
        self.metrics.poll_duration.observe(seconds)

    def decoded(self, events: int) -> None:
        """Count records that are events, before those that are none are refused."""
        self._refusals.decoded(events)

    def joined(self, joined: bool) -> None:
        """Show whether this learner is a member of the group, after each rebalance."""
        self.health.joined = joined
        self.metrics.rebalances.inc(joined)

    def skipped(self, records: int) -> None:
        """Count records that are gone before they were read."""
        self.metrics.events.labels(Outcome.SKIPPED.value).inc(records)

    def committed(self) -> None:
        """Show that the group has taken offsets."""
        self.metrics.last_commit.set_to_current_time()

    def answered(self, answers: bool) -> None:
        """Show whether Kafka answers."""
        self.metrics.kafka_up.set(answers)
        self.health.kafka_answers = answers

    def waits(self, what: str) -> None:
        """Show what reading waits for, as :class:`~streamlearn.source.Watch` says."""
        self.waiting.reading = what

    def refused(self, reason: Reason) -> None:
        """Count a dead letter."""
        self.metrics.dead_letters.labels(reason.value).inc()

    def explained(self, record: Record, reason: Reason, detail: str) -> None:
        """Tell of a dead letter, and the field that its reason is about; in the log, of some each step tells."""
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
        """Have the operators who asked for a copy told what became of it."""
        self.control.settle(kept)


def _read(written: bytes) -> History | None:
    try:
        return read(written)
    except ValueError as error:
        log.warning("the page begins anew: what the checkpoint says of the past cannot be used: %s", error)
        return None


def _publication(snapshot: dict[str, Any] | None) -> Publication | None:
    """Return what the manifest of a `snapshot` says of its publication."""
    if not snapshot:
        return None
    return Publication(snapshot["version"], snapshot.get("events", {}).get("trained"), snapshot["created"])
