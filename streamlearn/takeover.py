"""How a term begins: the state directory is claimed, and the learner brought to where the last active one stopped.

1. The directory is claimed, so that no other process changes it any more.
2. The newest intact checkpoint is loaded.
3. The version that the checkpoint counts is published, if it is missing.
4. The steps that the journal records after it are re-run, and recording continues after them.

Until then checkpoint and journal are not changed, except that leftovers are removed and damaged files set aside: if the
term ends early, the next takeover finds the same state.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from streamlearn.checkpointing.keeper import Keeper
from streamlearn.config import Config
from streamlearn.decisions import Decision, Seek
from streamlearn.errors import AstrayError, FencedError, StateError, UnavailableError
from streamlearn.events import Reason
from streamlearn.learner import Learner
from streamlearn.publisher.publisher import Publisher
from streamlearn.records import Positions, Record, Topics
from streamlearn.recovery import reread
from streamlearn.reports import MicroBatch, Standing
from streamlearn.source import Source
from streamlearn.state import State

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class Takeover:
    """Takes over from the last active learner.

    Parameters
    ----------
    config
        The whole configuration.
    source
        Where the records of recorded steps are read.
    keeper, publisher
        Where the state and the snapshots are stored.
    refuse
        Called with the records that recorded steps refuse.
    stopping
        Ends the wait between two attempts.
    restored
        Called before recorded steps are re-run, with the learner's standing, the manifest of the newest snapshot, and
        the history stored with the loaded checkpoint, empty if there is none.
    step
        Takes a recorded step, given its decision and micro-batch.
    skipped
        Called with the number of records of a recorded step that Kafka no longer has.
    publish
        Publishes the learner as the given version.
    blocked
        Called with the reason why the takeover waits, and with an empty one once it continues.

    """

    def __init__(
        self,
        config: Config,
        *,
        source: Source,
        keeper: Keeper,
        publisher: Publisher,
        refuse: Callable[[Record, Reason], None],
        stopping: threading.Event,
        restored: Callable[[Standing, dict[str, Any] | None, bytes], None],
        step: Callable[[Learner, Decision, MicroBatch], None],
        skipped: Callable[[int], None],
        publish: Callable[[Learner, int], None],
        blocked: Callable[[str], None],
    ) -> None:
        self._config, self._source, self._refuse = config, source, refuse
        self._keeper, self._publisher = keeper, publisher
        self._stopping, self._restored, self._step = stopping, restored, step
        self._skipped, self._publish, self._blocked = skipped, publish, blocked

    def run(self, learner: Learner, lasts: Callable[[], bool]) -> bool:
        """Bring `learner` to where the last active one stopped; return False if the term ended before that.

        Parameters
        ----------
        learner
            A new one.
        lasts
            Called repeatedly: whether the term still lasts.

        Raises
        ------
        StateError
            If no checkpoint can be read although there are some, or the directory belongs to another group or topic.
        BrokerError
            If Kafka refuses, or no longer has the records of a recorded step.

        """

        def restore() -> bool:
            self._publisher.drain()
            self._keeper.claim(waiting=lasts)
            self._restore(learner)
            return True

        try:
            if not self._patiently(restore, lasts):
                return False
            self._publisher.begin(learner.step)
            self._republish(learner)
            return self._patiently(lambda: self._recover(learner, lasts), lasts)
        except FencedError as error:
            log.warning("takeover given up: %s", error)
            return False

    def _patiently(self, attempt: Callable[[], bool], lasts: Callable[[], bool]) -> bool:
        """Retry `attempt` while the disk fails or Kafka does not answer; False if the term ends first."""
        said = False
        while True:
            try:
                done = attempt()
            except (OSError, UnavailableError) as error:
                if not said:
                    log.warning("takeover blocked, retrying: %s", error)
                    self._blocked(str(error))
                said = True
            else:
                self._blocked("")
                return done
            self._stopping.wait(RETRY_SECONDS)
            if not lasts():
                return False

    def _restore(self, learner: Learner) -> None:
        """Load the newest intact checkpoint, logging each damaged one."""
        checkpoints = self._keeper.checkpoints
        damaged = []
        for name in checkpoints.strangers():
            log.warning("ignoring %s: it is not a checkpoint", checkpoints.directory / name)
        for name, state in checkpoints.newest():
            if isinstance(state, StateError):
                log.error("checkpoint %s is refused: %s", name, state)
                damaged.append(name)
                continue
            load_checkpoint(learner, name, state)
            self._prove(learner, name)
            for refused in damaged:
                checkpoints.set_aside(refused)
            self._restored(learner.standing(), self._publisher.snapshots.newest(), checkpoints.history(name))
            log.info("continuing at step %d with version %d", learner.step, learner.version)
            return
        if damaged:
            raise StateError(
                f"none of the checkpoints in {checkpoints.directory} can be used "
                f"({', '.join(damaged)}); restore one, or move them away to learn from the beginning"
            )
        self._restored(learner.standing(), self._publisher.snapshots.newest(), b"")
        model, since = self._config.updater.model, learner.updater.warm_from
        log.info("starting with %s%s", model, "" if since is None else f" and its mixture as of step {since}")

    def _prove(self, learner: Learner, name: str) -> None:
        """Check that the θ of a checkpoint predicts: earlier versions did not do so before writing one."""
        try:
            learner.prove()
        except AstrayError:
            raise StateError(
                f"checkpoint {name} in {self._keeper.checkpoints.directory} holds a model that predicts nothing; "
                "move it away to continue from the one before it"
            ) from None

    def _republish(self, learner: Learner) -> None:
        """Publish the version that the checkpoint counts but that was not written when the learner was killed."""
        if learner.version <= self._publisher.version or not learner.presentable:
            return
        try:
            step = self._publisher.snapshots.step_of(learner.version)
        except OSError as error:
            log.warning("version %d is not published again: %s", learner.version, error)
            return
        if step in (None, learner.step):
            self._publish(learner, learner.version)
        else:  # it exists with other weights, and a version never changes
            self._publish(learner, self._publisher.next_version(learner.version))

    def _recover(self, learner: Learner, lasts: Callable[[], bool]) -> bool:
        """Re-run the recorded steps after the checkpoint, and continue recording after them."""
        decisions = self._still_there(learner, self._keeper.journal.decisions(learner.step))
        if decisions:
            log.info("re-running journal steps %d–%d", decisions[0].step, decisions[-1].step)
        deleted = self._config.publisher.journal.deleted
        for step in reread(decisions, self._source, deleted=deleted):
            for record, reason in step.refused:
                self._refuse(record, reason)
            self._skipped(step.missing)
            if isinstance(step.decision, Seek):
                self._skipped(step.decision.skipped)
                log.info("step %d is an operator's: it moves to %s", step.decision.step, _places(step.decision))
            self._step(learner, step.decision, step.batch(learner.draft()))
            if not lasts() and learner.step < decisions[-1].step:
                return False
        self._keeper.record(learner.step)
        return True

    def adopt(self, learner: Learner, positions: Positions, topics: Topics) -> bool:
        """Let `learner` continue from `positions` in `topics`; return whether a checkpoint is needed before it learns.

        It is needed if the topic was re-created, which counts as a step without events, since checkpoints and the
        journal identify their contents by the step. It is also needed if a new learner does not start at the earliest
        offset: the end of the topic, or the first record after a time, will be another offset later.
        """
        begins = not learner.positions and self._config.kafka.start != "earliest"
        created_again = bool(learner.topics) and bool(topics) and learner.topics != topics
        learner.step += created_again
        learner.positions, learner.topics = positions, topics or learner.topics
        self._keeper.journal.topics = learner.topics
        return begins or created_again

    def _still_there(self, learner: Learner, decisions: list[Decision]) -> list[Decision]:
        """Return those of `decisions` whose topic still exists: a re-created topic holds other records.

        If it was re-created, `learner` keeps the topic that its positions refer to, and reading begins where
        ``kafka.out_of_range`` says, unless steps on the new topic are recorded already.
        """
        journal, now = self._keeper.journal, self._source.topics()
        before = learner.topics or (decisions[0].topics if decisions else {})
        learner.topics = journal.topics = now or before
        if not before or learner.topics == before:
            return decisions
        usable = list(takewhile(lambda decision: decision.topics == now, decisions))
        if usable:
            learner.positions = {}
            return usable
        self._source.require_same(before, now)
        learner.topics = before
        if decisions:
            lost = decisions[0].step, decisions[-1].step
            log.error("journal steps %d–%d are not re-run: the topic that held their records is gone", *lost)
        return []


def _places(seek: Seek) -> str:
    return ", ".join(f"{topic}/{partition}/{offset}" for topic, partition, offset in seek.positions)


def load_checkpoint(learner: Learner, name: str, state: State) -> None:
    """Let `learner` continue from `state`; StateError if it is intact but not a learner's state."""
    try:
        learner.load(state)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise StateError(
            f"checkpoint {name} is whole, but holds no state that this version can load ({type(error).__name__}); "
            "move it away to continue from the one before"
        ) from error
