"""Reading: from given positions on, record by record, into the arrival queue; and watching the topic's identity."""

from __future__ import annotations

import logging
import time
from typing import Any

from kafka.errors import (
    KafkaError,
    LogTruncationError,
    OffsetOutOfRangeError,
    RetriableError,
    UnknownTopicOrPartitionError,
)

from streamlearn.config import Kafka
from streamlearn.config.start import Start
from streamlearn.consumer.beginning import EARLIEST, first_offsets
from streamlearn.consumer.client import describe, refusal
from streamlearn.consumer.commits import REQUEST_MILLISECONDS
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.out_of_range import after_truncation, created_again, where_to_go_on
from streamlearn.consumer.queue import ArrivalQueue, arrival
from streamlearn.errors import UnavailableError
from streamlearn.events import Reason
from streamlearn.records import Partition, Positions, Record, Topics
from streamlearn.source import Refusals, Watch

log = logging.getLogger(__name__)

POLL_MILLISECONDS = 200
ADVANCE_SECONDS = 1.0
RETRY_SECONDS = 1.0  # between attempts when a registry does not answer


class Reading:
    """Reads the partitions held, on the polling thread, between :meth:`begin` and :meth:`end`.

    Parameters
    ----------
    config
        The section ``kafka``.
    decoder
        Decodes records into events.
    dead_letters
        Receives the records that are not valid events.
    queue
        Receives all records, in order within each partition.
    watch
        Notified of what happens.

    Attributes
    ----------
    active
        Whether reading has begun.
    topics
        The id of the topic that is read; empty if the broker has no topic ids.

    """

    def __init__(
        self, config: Kafka, *, decoder: Decoder, dead_letters: Refusals, queue: ArrivalQueue, watch: Watch
    ) -> None:
        self.active = False
        self.topics: Topics = {}
        self._config, self._decode, self._dead_letters = config, decoder.decode, dead_letters
        self._queue, self._watch = queue, watch
        self._next: Positions = {}  # the next offset to enqueue, ahead of the learner's own positions
        self._paused = False
        self._waits_for = ""
        self._advanced_at = self._retry_at = 0.0
        self._unread: set[Partition] = set()  # partitions whose next records cannot be decoded for now

    def begin(self, client: Any, held: set[Any], positions: Positions, topics: Topics) -> Positions:
        """Seek to `positions`, and return them with the first offset of each partition held but not among them.

        If the topic is no longer the one in `topics`, ``kafka.out_of_range`` says where to begin in the new one.

        Raises
        ------
        KafkaError
            If Kafka does not return what is needed now.
        BrokerError
            If the topic was re-created and ``kafka.out_of_range`` says to fail; or ``kafka.start`` does not fit the
            topic.

        """
        topic, begun = self._config.topic, EARLIEST if positions else None
        client.ask_for_topics(REQUEST_MILLISECONDS)
        if not client.has_topic(topic):
            raise UnknownTopicOrPartitionError(topic)
        found = self._found(client)
        if topics and found and found != topics:
            begun = Start(created_again(self._config, topics, found))
            positions = {}
        added = sorted(partition for partition in held if key_of(partition) not in positions)
        starts = first_offsets(self._config, client, added, begun=begun)
        self._queue.clear()
        self._next = positions | {key_of(partition): offset for partition, offset in starts.items()}
        self.topics = found
        for partition in held:
            client.seek(partition, self._next[key_of(partition)])
        client.resume(*client.paused())
        self._paused, self.active = False, True
        self._wait_for("")
        return dict(self._next)

    def end(self) -> None:
        """Stop reading."""
        self.active = False
        self._wait_for("")

    def lost_topic(self, client: Any) -> bool:
        """Whether the topic is gone or was re-created under the same name, so that the positions do not apply."""
        return self.active and bool(self.topics) and self._found(client) != self.topics

    def poll(self, client: Any) -> None:
        """Process what has come; wait a little if nothing has.

        Raises
        ------
        BrokerError
            If Kafka refuses, or the next records are gone and ``kafka.out_of_range`` says to fail.

        """
        started = time.perf_counter()
        try:
            polled = client.poll(timeout_ms=POLL_MILLISECONDS)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            self._go_on_elsewhere(client, error)
            return
        except RetriableError as error:
            log.debug("polling continues: %s", describe(error))
            return
        except KafkaError as error:
            raise refusal(self._config, error) from error
        if self.lost_topic(client):
            return
        for partition, records in polled.items():
            try:
                self._enqueue(partition, records, client.reached(partition))
            except UnavailableError as error:
                self._read_later(client, partition, records[0], error)
        if polled:
            self._watch.polled(time.perf_counter() - started)
        self._advance(client)

    def _enqueue(self, partition: Any, records: list[Record], reached: int | None) -> None:
        """Decode `records`; those before the position are dropped."""
        key = key_of(partition)
        expected = self._next.get(key, -1)
        if records[0].offset < expected:
            records = [record for record in records if record.offset >= expected]
            if not records:
                return
        decode = self._decode
        outcomes = [decode(record) for record in records]
        refused = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, Reason)]
        self._watch.decoded(len(records) - len(refused))
        for index, reason in refused:
            self._dead_letters.put(records[index], reason)
        if key in self._unread:
            self._unread.discard(key)
            log.info("%s/%d can be decoded again; consumption resumed", *key)
        end = max(records[-1].offset + 1, reached or 0)
        self._next[key] = end
        self._queue.put(arrival(key, records, outcomes, begin=records[0].offset, end=end))

    def _read_later(self, client: Any, partition: Any, record: Record, error: UnavailableError) -> None:
        """Read `record` and what follows it again a little later: the registry to decode it does not answer."""
        key = key_of(partition)
        if key not in self._unread:
            log.error("%s/%d cannot be decoded; consumption paused: %s", *key, error)
        self._unread.add(key)
        self._retry_at = time.monotonic() + RETRY_SECONDS
        client.seek(partition, max(record.offset, self._next.get(key, 0)))

    def _advance(self, client: Any) -> None:
        """Report it if a partition has been read beyond its last record.

        After it there may be transaction markers, aborted transactions, or offsets removed by compaction.
        """
        if not self.active or time.monotonic() - self._advanced_at < ADVANCE_SECONDS:
            return
        self._advanced_at = time.monotonic()
        for partition in client.assignment():
            key, reached = key_of(partition), client.reached(partition)
            before = self._next.get(key)
            if before is not None and reached is not None and reached > before:
                self._next[key] = reached
                self._queue.put(arrival(key, [], [], begin=before, end=reached))

    def pause_or_resume(self, client: Any, held: set[Any]) -> None:
        """Stop fetching while the queue is full or dead letters cannot be written."""
        if not self.active:
            return
        blocked = self._dead_letters.blocked
        if self._queue.full or blocked or time.monotonic() < self._retry_at:
            self._paused = True
            client.pause(*held)
        elif self._paused and self._queue.drained:
            self._paused = False
            client.resume(*client.paused())
        self._wait_for("dead_letters" if blocked else "schemas" if self._unread else "learning" if self._paused else "")

    def _wait_for(self, what: str) -> None:
        """Report what reading waits for, if that has changed."""
        if what != self._waits_for:
            self._waits_for = what
            self._watch.waits(what)

    def _go_on_elsewhere(self, client: Any, error: OffsetOutOfRangeError | LogTruncationError) -> None:
        """Seek to where ``kafka.out_of_range`` says, unless the offsets are gone because the topic was re-created."""
        try:
            client.ask_for_topics(REQUEST_MILLISECONDS)
            if self.lost_topic(client):
                return
            if isinstance(error, LogTruncationError):
                targets = after_truncation(self._config, error.divergent_offsets, client)
            else:
                targets = where_to_go_on(self._config, client, error.args[0], self._watch.skipped)
        except (KafkaError, UnavailableError) as unanswered:
            log.debug("where to continue is asked later: %s", describe(unanswered))
            return
        for partition, target in targets.items():
            self._next[key_of(partition)] = target
            client.seek(partition, target)

    def _found(self, client: Any) -> Topics:
        identity = client.topic_id(self._config.topic)
        return {self._config.topic: identity} if identity else {}


def key_of(partition: Any) -> Partition:
    """Return kafka-python's ``TopicPartition`` as ours."""
    return partition.topic, partition.partition
