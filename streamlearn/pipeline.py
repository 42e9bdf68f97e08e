"""The loop: consumer → buffer → updater → publisher, with the monitor looking on.

One event's way from Kafka to ``latest``:

1. ``consumer/consumer.py`` polls it, decodes it (or refuses it: ``consumer/dead_letters.py``) and queues it;
2. ``learner/intake.py`` takes it into a micro-batch, unless admission finds a duplicate or holds it out;
3. ``learner/learner.py`` predicts it, learns it together with replayed events and puts it into the buffer;
4. ``publisher/publisher.py`` writes the checkpoint that contains it, commits its offset and publishes the
   snapshot that was learnt from it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from prometheus_client import CollectorRegistry

from streamlearn.capture import capture
from streamlearn.checkpointing.fence import source_of
from streamlearn.checkpointing.keeper import Keeper
from streamlearn.checkpointing.seat import Seat
from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.consumer.dead_letter_topic import make_dead_letters, require_dead_letter_topic
from streamlearn.decisions import Decision, Step
from streamlearn.errors import AstrayError, StreamlearnError
from streamlearn.learner import Learner
from streamlearn.learner.intake import Intake
from streamlearn.learner.standstill import FRUITLESS_STEPS, fruitless, refusing, stood_back
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.logs import START, Place
from streamlearn.monitor.metrics import Metrics
from streamlearn.monitor.server import Server
from streamlearn.monitor.telemetry import Telemetry
from streamlearn.patience import Patience
from streamlearn.publisher.publisher import Publisher
from streamlearn.reports import MicroBatch, StepReport
from streamlearn.source import Watch
from streamlearn.takeover import Takeover
from streamlearn.unforeseen import unforeseen

log = logging.getLogger(__name__)

SETTLE_SECONDS = 30.0
LAG_SECONDS = 1.0
BEAT_SECONDS = 0.5


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

    Attributes
    ----------
    starting
        Whether it is beginning, or taking over: nothing has been learnt that is not kept, and it may end at once.

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
        patience = Patience(self._stopping)
        self._lag_at = 0.0
        self.failed: StreamlearnError | None = None
        self.starting = False
        self.metrics = Metrics(CollectorRegistry())
        self.health = Health(config.monitor.heartbeat_timeout_seconds)
        self.live = Live(topic=config.kafka.topic, group=config.kafka.group)
        self.telemetry = Telemetry(self.metrics, self.live)
        self.dead_letters = make_dead_letters(config.kafka, refused=self.telemetry.refused, patience=patience)
        self.source = make_source(config)
        self.consumer = self.source.consumer(
            refusals=self.dead_letters,
            watch=Watch(
                polled=self.metrics.poll_duration.observe,
                membership=self._membership,
                skipped=self.metrics.events.labels("skipped").inc,
                committed=self.metrics.last_commit.set_to_current_time,
                answers=self._kafka_answers,
            ),
            patience=patience,
        )
        source = source_of(config.kafka.group, config.kafka.topic)
        self.keeper = Keeper(config.publisher, configuration=config.decisive(), source=source)
        self.publisher = Publisher(
            config.publisher,
            keeper=self.keeper,
            change=self.keeper.fence.change,
            settle=lambda: self.dead_letters.settle(SETTLE_SECONDS),
            commit=self.consumer.commit,
            progress=self.telemetry,
        )
        self._takeover = Takeover(
            config,
            source=self.source,
            keeper=self.keeper,
            publisher=self.publisher,
            refuse=self.dead_letters.put,
            stopping=self._stopping,
            restored=self._restored,
            step=self._step,
            skipped=self.metrics.events.labels("skipped").inc,
            publish=self._keep,
        )
        self._said_that_there_is_nothing = False
        self._place: Place = START
        self.server: Server | None = None
        self._seat: Seat | None = None

    def thread_died(self, died: threading.ExceptHookArgs) -> None:
        """End the loop with what has ended a thread that nobody looks after; a ``threading.excepthook``."""
        name = died.thread.name if died.thread else "unknown"
        self.failed = unforeseen(name, died.exc_value or died.exc_type())

    def stop(self) -> None:
        """Ask the loop to finish its step, checkpoint, publish, commit and leave."""
        self._stopping.set()

    def run(self) -> None:
        """Stand by, and learn while the group says that we are its active member, until :meth:`stop` is called.

        Raises
        ------
        ConfigurationError
            If the model or the address of the server cannot be used.
        BrokerError
            If Kafka cannot be reached or refuses.
        StateError
            If no checkpoint can be read although there are some, or the directory is of another group or topic.
        NotKeptError
            If it was told to stop, and what was learnt since the last checkpoint could not be kept.
        UnforeseenError
            If a thread of the learner has ended with an error that nobody foresaw.
        AstrayError, FruitlessError, DeviceError
            If learning comes to nothing, for θ, for what it is to learn, or for the device.

        """
        if self._stopping.is_set():
            return
        config, self.starting = self._config, True
        with ExitStack() as stack:
            self.keeper.check()
            self.server = Server(config.monitor, registry=self.metrics.registry, health=self.health, live=self.live)
            self.server.start()
            stack.callback(self.server.stop)
            self.source.require()
            log.info("dead letters: %s", require_dead_letter_topic(config.kafka))
            self._seat = Seat(config.publisher.directory / "seats")
            stack.callback(self._seat.leave)
            if self._seat.ghost:
                self.source.expel(self._seat.ghost)
            stack.callback(self.keeper.close)
            self.publisher.start()
            stack.callback(self.publisher.stop)
            self.dead_letters.start()
            stack.callback(self.dead_letters.stop)
            stack.callback(self.consumer.stop)
            stack.callback(self._stopping.set)  # whatever ended it, from there on nothing is waited for at length
            try:
                self._take_turns()
            except AstrayError as error:
                self.health.fault = "the model has gone astray"
                self.publisher.drain()
                raise stood_back(str(error), self._config, self.keeper.written) from None

    def _take_turns(self) -> None:
        """Load the model and join the group; learn in each term of ours, and stand by between them."""
        learner = Learner(self._config)
        self.health.model_loaded = True
        self.consumer.start()
        self.starting = False
        current = False  # whether `learner` is what the state directory, claimed by us, has come to
        last = 0
        while not self._stopping.is_set():
            term = self.consumer.wait_for_term(last, BEAT_SECONDS)
            self._beat(learner)
            if current and not self.keeper.fence.held:
                log.warning("another learner has taken over since step %d", learner.step)
                current = False
                if self.consumer.term == last:  # the group does not know
                    self.consumer.resign()
            if not current and learner.step:
                del learner  # there may not be memory for two
                learner = Learner(self._config)
            if term is None:
                continue
            last = term  # who was replaced within it must not take over again before the group says so
            self._activate(True)
            self.starting = not current
            current = current or self._takeover.run(learner, partial(self._lasts, learner, term))
            self.starting = False
            if current:
                self._learn(learner, term)
            self._activate(False)
        if current:
            self._finish(learner)

    def _lasts(self, learner: Learner, term: int) -> bool:
        """Show that the loop is alive, and return whether the term still lasts."""
        self._beat(learner)
        return not self._over(term)

    def _over(self, term: int) -> bool:
        return self._stopping.is_set() or self.keeper.fence.lost or self.consumer.term != term

    def _learn(self, learner: Learner, term: int) -> None:
        """Consumer → buffer → updater → publisher, until the term is over."""
        while (positions := self.consumer.read_from(learner.positions, learner.topics, BEAT_SECONDS)) is None:
            if not self._lasts(learner, term):
                return
        if self._takeover.adopt(learner, positions, self.consumer.topics):
            self._keep(learner)  # or the next start begins elsewhere
            self.publisher.drain()
        updater = self._config.updater
        queue, most = self.consumer.queue, self._config.kafka.queue_bytes // 2
        size, wait = updater.micro_batch, updater.max_wait_seconds
        intake = Intake(queue, learner.draft, size=size, max_wait=wait, most_bytes=most, clock=time.monotonic)
        while self._lasts(learner, term):
            batch = intake.next(stopping=lambda: self._over(term))
            if batch:
                self.keeper.journal.append(decision := Step(learner.step + 1, batch.ranges))
                self._step(learner, decision, batch)
            elif not learner.proven:
                learner.prove()  # what the last step did to θ shows now, and not only when more is to be learnt
            self._end_if_nothing_is_learnt(learner)
            checkpoint, snapshot = self.publisher.due(learner.step, presentable=self._presentable(learner))
            if checkpoint:
                self._keep(learner, self.publisher.next_version(learner.version) if snapshot else None)

    def _end_if_nothing_is_learnt(self, learner: Learner) -> None:
        if self.publisher.astray:
            raise AstrayError(self.publisher.astray)
        if learner.fruitless >= FRUITLESS_STEPS:
            self._keep(learner)  # the next start goes on behind what was refused
            self.publisher.drain()
            raise fruitless(learner, self._config, self.keeper.written)

    def _presentable(self, learner: Learner) -> bool:
        """Whether there is anything to publish; where there is not, it is said once."""
        if not learner.presentable and learner.step and not self._said_that_there_is_nothing:
            log.info("there is nothing to publish before an event has been learnt")
            self._said_that_there_is_nothing = True
        return learner.presentable

    def _step(self, learner: Learner, decision: Decision, batch: MicroBatch) -> None:
        """Take the step, show it, send what it refused to the dead letters, and tell whoever looks on."""
        started = time.perf_counter()
        report = learner.learn(decision, batch)
        self.health.fault = refusing(learner)
        self._place = learner.standing().place()
        self.telemetry.step(learner, report, time.perf_counter() - started)
        for record, reason in report.refused:
            self.dead_letters.put(record, reason)
        self._on_step(report)

    def _keep(self, learner: Learner, version: int | None = None) -> None:
        """Have the learner written as it is, and published where a `version` is given.

        Where it cannot even be copied, that is a failed checkpoint, and the version is not counted.
        """
        try:
            with self.metrics.publish_stall.time():  # learning waits for this, and for the evaluation of a candidate
                copy = capture(learner, self._config, version)
        except (OSError, MemoryError, RuntimeError) as error:
            self.publisher.uncaptured(learner.step, version, error)
            return
        learner.version = copy.version
        self._place = learner.standing().place()
        if copy.export:
            self.telemetry.captured(learner, copy)
        self.publisher.submit(copy)

    def _finish(self, learner: Learner) -> None:
        """Checkpoint and publish what has been learnt since the last time, and have it committed."""
        self.publisher.drain()
        snapshot = self.publisher.unpublished(learner.step) and self._presentable(learner)
        if snapshot or self.keeper.unwritten(learner.step):
            self._keep(learner, self.publisher.next_version(learner.version) if snapshot else None)
            self.publisher.drain()
            if self.publisher.astray:
                raise AstrayError(self.publisher.astray)
        self.keeper.require_written(learner.step)
        log.info("stopped at step %d", learner.step)

    def _restored(self, learner: Learner) -> None:
        """Show `learner` as a checkpoint has left it."""
        self._place = learner.standing().place()
        self.telemetry.resumed(learner, self.publisher.snapshots.newest())

    def _membership(self, joined: bool) -> None:
        if joined and self._seat:
            self._seat.remember(self.consumer.member)
        self.health.joined = joined
        self.metrics.rebalances.inc(joined)

    def place(self) -> Place:
        """Return where in the stream the learner is, for the log."""
        return self._place

    def _kafka_answers(self, answers: bool) -> None:
        self.metrics.kafka_up.set(answers)
        self.health.kafka_answers = answers

    def _activate(self, active: bool) -> None:
        self.metrics.active.set(active)
        self.health.active = active

    def _beat(self, learner: Learner) -> None:
        """Show that the loop is alive; raise what has ended another thread."""
        for part in (self.dead_letters, self.publisher, self.server, self):
            if part and part.failed:
                raise part.failed
        self.health.beat()
        self.metrics.heartbeat.set_to_current_time()
        now = time.monotonic()
        if now - self._lag_at >= LAG_SECONDS:
            self._lag_at = now
            lag = self.consumer.lag(learner.positions)
            self.metrics.set_lag(lag)
            self.live.standing(lag, learner.buffer.by_label(), learner.buffer.records)
