"""The loop: a consumer pulls events, the learner takes steps on micro-batches of them, and a publisher snapshots it.

Around it, ``parts.py`` assembles its parts, ``terms.py`` decides when it runs, ``takeover.py`` where it starts, and
``monitor/monitor.py`` is notified of what happens. The docstring of the package follows one event, one drift and one
checkpoint through it, from file to file.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from streamlearn.capture import capture
from streamlearn.config import Config
from streamlearn.decisions import Decision
from streamlearn.errors import AstrayError
from streamlearn.learner import Learner
from streamlearn.learner.intake import Intake
from streamlearn.learner.standstill import FRUITLESS_STEPS, fruitless, refusing, stood_back
from streamlearn.parts import Parts
from streamlearn.reports import MicroBatch, StepReport
from streamlearn.takeover import Takeover
from streamlearn.terms import BEAT_SECONDS, Term, Terms

log = logging.getLogger(__name__)


class Pipeline:
    """Runs the learner over the topic until it is told to stop.

    Parameters
    ----------
    config
        The whole configuration.
    on_step
        Called after each micro-batch, on the learning thread.
    stopping
        Ends the loop once it is set, as :meth:`stop` does.

    Attributes
    ----------
    monitor, dead_letters, consumer, keeper, publisher, thread_died
        As :class:`Parts` describes them.

    """

    def __init__(
        self,
        config: Config,
        *,
        on_step: Callable[[StepReport], None] = lambda _: None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._config, self._on_step, self._stopping = config, on_step, stopping or threading.Event()
        self._parts = parts = Parts(config, self._stopping)
        self.monitor, self.dead_letters, self.consumer = parts.monitor, parts.dead_letters, parts.consumer
        self.keeper, self.publisher = parts.keeper, parts.publisher
        self.thread_died = parts.thread_died
        self._terms = Terms(config, parts, self._stopping)
        self._takeover = Takeover(
            config,
            source=parts.source,
            keeper=self.keeper,
            publisher=self.publisher,
            refuse=self.dead_letters.put,
            stopping=self._stopping,
            restored=self.monitor.restored,
            step=self._step,
            skipped=self.monitor.skipped,
            publish=self._keep,
            blocked=self.monitor.blocked,
        )
        self._said_that_there_is_nothing = False

    @property
    def starting(self) -> bool:
        """Whether it is starting or taking over: nothing unsaved has been learnt yet, so it may end at once."""
        return self._terms.starting

    def stop(self) -> None:
        """Ask the loop to finish its step, checkpoint, publish, commit and leave."""
        self._stopping.set()

    def run(self) -> None:
        """Stand by, and learn while this process is the active member of the group, until :meth:`stop` is called.

        Raises
        ------
        ConfigurationError
            If the model or the address of the server cannot be used.
        BrokerError
            If Kafka cannot be reached or refuses.
        StateError
            If no checkpoint can be read although there are some, or the directory is of another group or topic.
        NotKeptError
            If it was stopped, and what was learnt since the last checkpoint could not be saved.
        UnforeseenError
            If a thread of the learner has ended with an unexpected error.
        AstrayError, FruitlessError, DeviceError
            If learning cannot go on, because of θ, the events or the device.

        """
        if self._stopping.is_set():
            return
        with self._parts.running():
            try:
                learner = self._terms.run(self._takeover.run, self._learn)
                if learner:
                    self._finish(learner)
            except AstrayError as error:
                self.monitor.faulty("the model has gone astray")
                self.publisher.drain()
                raise stood_back(str(error), self._config, self.keeper.written) from None

    def _learn(self, learner: Learner, term: Term) -> None:
        """Consumer → learner → publisher, until the term is over."""
        while (positions := self.consumer.read_from(learner.positions, learner.topics, BEAT_SECONDS)) is None:
            if not term.lasts():
                return
        if self._takeover.adopt(learner, positions, self.consumer.topics):
            self._keep(learner)  # otherwise the next start would begin elsewhere
            self.publisher.drain()
        updater, most = self._config.updater, self._config.kafka.queue_bytes // 2
        size, wait = updater.micro_batch, updater.max_wait_seconds
        queue, control, offers = self.consumer.queue, self.monitor.control, self.publisher.offers
        intake = Intake(queue, learner.draft, size=size, max_wait=wait, most_bytes=most, clock=time.monotonic)
        while term.lasts():
            batch = (
                MicroBatch()
                if control.held(BEAT_SECONDS)
                else intake.next(stopping=lambda: term.over() or control.paused)
            )
            if batch:
                decision = offers.next_step(learner.step, batch.ranges, heeded=learner.heeds_publications)
                self.keeper.journal.append(decision)
                self._step(learner, decision, batch)
            elif not learner.proven:
                learner.prove()  # damage that the last step did to θ shows now, and not only at the next step
            self._end_if_nothing_is_learnt(learner)
            checkpoint, snapshot = self.publisher.due(
                learner.step, presentable=self._presentable(learner), asked=control.take
            )
            if checkpoint:
                self._keep(learner, self.publisher.next_version(learner.version) if snapshot else None)

    def _step(self, learner: Learner, decision: Decision, batch: MicroBatch) -> None:
        """Take the step, send what it refused to the dead letters, and report it."""
        started = time.perf_counter()
        report = learner.learn(decision, batch)
        seconds = time.perf_counter() - started
        self.monitor.faulty(refusing(learner))
        self.monitor.stepped(learner.standing(), report, seconds)
        for record, reason in report.refused:
            self.dead_letters.put(record, reason)
        self._on_step(report)

    def _keep(self, learner: Learner, version: int | None = None) -> None:
        """Request a checkpoint of the learner as it is, and a snapshot if a `version` is given.

        If it cannot even be copied, that counts as a failed checkpoint, and the version is not used up.
        """
        try:
            with self.monitor.stalled():  # learning waits for this, and for the evaluation of a candidate
                copy = capture(learner, self._config, version, history=self.monitor.history())
        except (OSError, MemoryError, RuntimeError) as error:
            self.publisher.uncaptured(learner.step, version, error)
            return
        learner.version = copy.version
        self.monitor.captured(learner.standing(), copy.accuracy)
        self.publisher.submit(copy)

    def _end_if_nothing_is_learnt(self, learner: Learner) -> None:
        if self.publisher.astray:
            raise AstrayError(self.publisher.astray)
        if learner.fruitless >= FRUITLESS_STEPS:
            self._keep(learner)  # the next start continues after what was refused
            self.publisher.drain()
            raise fruitless(learner, self._config, self.keeper.written)

    def _presentable(self, learner: Learner) -> bool:
        """Whether there is anything to publish; if not, that is logged once."""
        if not learner.presentable and learner.step and not self._said_that_there_is_nothing:
            log.info("nothing is published before the first event has been learnt")
            self._said_that_there_is_nothing = True
        return learner.presentable

    def _finish(self, learner: Learner) -> None:
        """Checkpoint, publish and commit what has been learnt since the last time."""
        self.publisher.drain()
        snapshot = self.publisher.unpublished(learner.step) and self._presentable(learner)
        if snapshot or self.keeper.unwritten(learner.step):
            self._keep(learner, self.publisher.next_version(learner.version) if snapshot else None)
            self.publisher.drain()
            if self.publisher.astray:
                raise AstrayError(self.publisher.astray)
        self.keeper.require_written(learner.step)
        log.info("stopped at step %d", learner.step)
