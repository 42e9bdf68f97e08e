"""The consumer: polls Kafka on its own thread and puts decoded records into the arrival queue.

Training never blocks polling. While the queue is full, or dead letters cannot be written, the partitions are paused and
polling continues, so the membership survives steps that take longer than ``max.poll.interval.ms``.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from kafka.errors import KafkaError
from kafka.structs import MemberState

from streamlearn.config import Kafka
from streamlearn.consumer.assignor import LossListener, SingleActiveAssignor
from streamlearn.consumer.client import as_sentence, describe, hand_over_sooner, leave, make_consumer
from streamlearn.consumer.commits import REQUEST_MILLISECONDS, Commits
from streamlearn.consumer.dead_letter_topic import compaction
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.ends import LogEnds
from streamlearn.consumer.queue import ArrivalQueue
from streamlearn.consumer.reading import Reading
from streamlearn.consumer.resets import tell_of_resets
from streamlearn.errors import BrokerError
from streamlearn.patience import Patience
from streamlearn.records import Partition, Positions, Topics
from streamlearn.source import Refusals, Watch
from streamlearn.unforeseen import unforeseen

log = logging.getLogger(__name__)

STOP_SECONDS = 8.0  # for the current request of the polling thread, and to leave the group
RESIGNED_SECONDS, MOST_RESIGNED = 600.0, 5  # claiming the state directory too late makes a learner resign once
SESSIONS = 2  # after so many session timeouts the group has dropped any member that does not answer


class Consumer:
    """A member of the group; while it is the active one, it reads the topic from the given positions.

    The group gives this member all partitions, or none. Each time it gets them a *term* begins, which ends when the
    membership is lost. Nothing is read before :meth:`read_from`, so that the state of the previously active learner can
    be taken over first.

    Parameters
    ----------
    config
        The section ``kafka``.
    decoder
        Decodes records into events.
    dead_letters
        Receives the records that are not valid events.
    watch
        Notified of what happens.
    patience
        Decides how long to wait for the group.

    Attributes
    ----------
    queue
        The decoded records, in order within each partition.

    """

    def __init__(
        self,
        config: Kafka,
        *,
        decoder: Decoder,
        dead_letters: Refusals,
        watch: Watch,
        patience: Patience | None = None,
    ) -> None:
        self.queue = ArrivalQueue(records=config.queue_records, bytes=config.queue_bytes)
        self._config, self._watch = config, watch
        self._reading = Reading(config, decoder=decoder, dead_letters=dead_letters, queue=self.queue, watch=watch)
        self._client: Any = None
        self._assignor = SingleActiveAssignor(self._on_assigned)
        self._terms = 0
        self._held: set[Any] = set()  # the partitions assigned to us
        self._standing_by = False
        self._ends = LogEnds(config, answers=watch.answers)
        self._rebalancing_since: float | None = None
        self._resigning = False
        self._resigned: list[float] = []
        self._commits = Commits(taken=watch.committed, patience=patience)
        self._changed = threading.Condition()
        self._to_read: tuple[int, Positions, Topics] | None = None  # the term, and where to read from
        self._begun_at: Positions = {}
        self._told_of_resets = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        """Join the group.

        Raises
        ------
        BrokerError
            If Kafka cannot be reached or refuses.

        """
        with as_sentence(self._config):
            self._client = make_consumer(self._config, assignor=self._assignor)
            self._subscribe()
            self._client.partitions_for_topic(self._config.topic)  # else the first assignment would see no partitions
        if compacted := compaction(self._config):
            log.warning("%s", compacted)
        hand_over_sooner()
        self._thread.start()

    @property
    def member(self) -> str:
        """The member id in the group, empty before it has joined."""
        return str(self._client.group_metadata().member_id or "")

    @property
    def term(self) -> int | None:
        """How often this member has become the active one; None while it is not."""
        return self._terms if self._held else None

    def wait_for_term(self, after: int, timeout: float) -> int | None:
        """Wait up to `timeout` seconds to be the active member in a term after the one called `after`, and return it.

        Raises
        ------
        BaseException
            The error that has ended the polling thread.

        """
        with self._changed:
            self._changed.wait_for(lambda: (self.term or 0) > after or self.queue.failed, timeout)
            if self.queue.failed:
                raise self.queue.failed
            return self.term if (self.term or 0) > after else None

    @property
    def topics(self) -> Topics:
        """The id of the topic that is read."""
        return dict(self._reading.topics)

    def read_from(self, positions: Positions, topics: Topics, timeout: float) -> Positions | None:
        """Read on from `positions`, and return them with the first offset of each partition not among them.

        They are positions in the topic whose id is in `topics`. If it was re-created, ``kafka.out_of_range`` says where
        to begin in the new one.

        The queue is cleared. Without any positions, ``kafka.start`` says where to begin; with some, a partition that is
        not among them is new, and is read from its beginning. None is returned if Kafka does not answer within
        `timeout` seconds.

        Raises
        ------
        BaseException
            The error that has ended the polling thread.

        """
        with self._changed:
            self._to_read = self._terms, dict(positions), dict(topics)
            self._changed.wait_for(lambda: self._to_read is None or self.queue.failed, timeout)
            if self.queue.failed:
                raise self.queue.failed
            return dict(self._begun_at) if self._reading.active and self._to_read is None else None

    def resign(self) -> None:
        """Leave the group and rejoin it without a claim to be the active member.

        A learner that has to do so again and again, because others take over the state while the group keeps it as the
        active one, makes no progress, and neither do they: that ends the polling thread with a clear error.
        """
        now = time.monotonic()
        self._resigned = [at for at in self._resigned if now - at < RESIGNED_SECONDS] + [now]
        if len(self._resigned) > MOST_RESIGNED:
            self.queue.fail(
                BrokerError(
                    f"another learner took over the state {len(self._resigned)} times within ten minutes while group "
                    f"{self._config.group} had this one as its active member; learners of different groups or Kafka "
                    "clusters each need a publisher.directory of their own"
                )
            )
        self._resigning = True

    def commit(self, positions: Positions) -> bool:
        """Commit `positions` to the group, as :meth:`Commits.commit` does."""
        return self._commits.commit(positions)

    def lag(self, positions: Positions) -> dict[Partition, int]:
        """Return how many records `positions` lag behind in each assigned partition."""
        return self._ends.lag(positions)

    def stop(self) -> None:
        """Make the pending commit, leave the group and end the thread; without Kafka, skip the first two."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._begin_to_read()
                self._reading.pause_or_resume(self._client, self._held)
                self._reading.poll(self._client)
                self._rejoin_where_needed()
                self._commit()
                if not self._stopping.is_set():
                    self._ends.look(self._client, self._held)
            if self._ends.answered:
                self._commit()
        except BaseException as error:  # noqa: BLE001 - handed to the learning thread, which raises it
            self._fail(error)
        finally:
            self._commits.close()
            leave(self._client, within=REQUEST_MILLISECONDS if self._ends.answered else 0)

    def _fail(self, error: BaseException) -> None:
        self.queue.fail(unforeseen("consumer", error))
        with self._changed:
            self._changed.notify_all()

    def _subscribe(self) -> None:
        self._client.subscribe([self._config.topic], listener=LossListener(self._on_lost, failed=self._fail))

    def _rejoin_where_needed(self) -> None:
        """Leave and rejoin to resign, or if a rebalance takes longer than the group waits for any member.

        kafka-python 3.0 forgets a join that it began because of new partitions, if the group answers between two polls:
        it then neither sends heartbeats nor joins again. Leaving waits for the group's answer, at most
        ``request_timeout_ms``.
        """
        now, limit = time.monotonic(), SESSIONS * self._client.config["session_timeout_ms"] / 1000
        if self._client.group_metadata().state is not MemberState.REBALANCING:
            self._rebalancing_since = None
        elif self._rebalancing_since is None:
            self._rebalancing_since = now
        if self._reading.lost_topic(self._client):
            log.error(
                "topic %s is gone or was created again; rejoining group %s", self._config.topic, self._config.group
            )
            self._resigning = True
        if self._resigning or (self._rebalancing_since is not None and now - self._rebalancing_since > limit):
            self._resigning, self._rebalancing_since = False, None
            self._on_lost(self._held)
            self._client.unsubscribe()
            self._subscribe()

    def _begin_to_read(self) -> None:
        """Begin where :meth:`read_from` says, waiting until Kafka returns the first offsets."""
        wish = self._to_read
        if wish is None or not self._held:
            return
        term, positions, topics = wish
        if term != self._terms:  # another learner has been active since and continued from there
            self._answer(wish)
            return
        try:
            begun_at = self._reading.begin(self._client, self._held, positions, topics)
        except KafkaError as error:
            log.debug("reading begins later: %s", describe(error))
            return
        if self._to_read != wish:
            return
        self._begun_at = begun_at
        if not self._told_of_resets:
            self._told_of_resets = tell_of_resets(
                self._config, self._client, self._held, begun_at, begins=not positions
            )
        self._ends.forget()
        self._answer(wish)

    def _answer(self, wish: tuple[int, Positions, Topics]) -> None:
        with self._changed:
            if self._to_read == wish:
                self._to_read = None
                self._changed.notify_all()

    def _commit(self) -> None:
        if self._held:
            self._commits.serve(self._client)
        else:
            self._commits.refuse()

    def _on_assigned(self, partitions: set[Any]) -> None:
        """Begin a term if there is none, end it if a partition was taken away, or add new partitions to it.

        It runs on kafka-python's own thread, while the polling thread waits in ``poll``.
        """
        if self._held - partitions:
            self._end_term()
        added = partitions - self._held
        for partition in added:
            if self._reading.active:
                self._client.seek_to_beginning(partition)
            else:
                self._client.pause(partition)
                self._client.seek(partition, 0)  # without a position kafka-python would look one up
        with self._changed:
            if partitions and not self._held:
                self._terms += 1
            self._held = set(partitions)
            self._changed.notify_all()
        self._ends.forget()
        missing = not partitions and not self._client.has_topic(self._config.topic)
        if not self._reading.active:
            self._watch.waits("topic" if missing else "")
        if added:
            log.info("active: assigned %d partition%s of %s", len(added), "s" * (len(added) != 1), self._config.topic)
        elif missing:
            log.warning("waiting: there is no topic %s", self._config.topic)
        elif not partitions and not self._standing_by:
            log.info("standing by: another member of group %s is active", self._config.group)
        self._standing_by = not partitions
        self._watch.membership(True)

    def _on_lost(self, partitions: set[Any]) -> None:
        log.warning("lost membership of group %s (%d partitions); rejoining", self._config.group, len(partitions))
        self._assignor.forget()
        self._end_term()
        self._watch.membership(False)

    def _end_term(self) -> None:
        """Stop reading and committing, and drop the partitions."""
        with self._changed:
            self._held = set()
            self._reading.end()
        self._ends.forget()
        self._commits.refuse()
