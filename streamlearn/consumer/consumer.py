"""The consumer: polls Kafka on a thread of its own and leaves decoded records in the arrival queue.

Training never blocks polling. While the queue is full, or the dead letters are not taken, the partitions are
paused and polling goes on, so the membership survives steps that are longer than ``max.poll.interval.ms``.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError, OffsetOutOfRangeError, RetriableError

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence, describe, make_consumer
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.queue import Arrival, ArrivalQueue
from streamlearn.errors import BrokerError
from streamlearn.events import Partition, Positions, Reason

log = logging.getLogger(__name__)

POLL_MILLISECONDS = 200
LAG_SECONDS = 5.0
REQUEST_MILLISECONDS = 5000
SWITCH_SECONDS = 0.0005


@dataclass(frozen=True)
class Watch:
    """What the consumer reports as it happens, on its own thread."""

    polled: Callable[[float], None]
    """Seconds of one poll that brought records, with their decoding."""
    assigned: Callable[[bool], None]
    """After a rebalance: whether any partition is ours."""
    skipped: Callable[[int], None]
    """Records that retention deleted before they were read, and that the policy says to skip."""


class Consumer:
    """Reads the topic from given positions.

    Parameters
    ----------
    config
        The section ``kafka``.
    decoder
        Makes events of records.
    dead_letters
        Takes the records that are none.
    watch
        Told what happens.

    Attributes
    ----------
    queue
        The decoded records, in order within each partition.

    """

    def __init__(self, config: Kafka, *, decoder: Decoder, dead_letters: DeadLetters, watch: Watch) -> None:
        self.queue = ArrivalQueue(records=config.queue_records, bytes=config.queue_bytes)
        self._config, self._decode, self._dead_letters, self._watch = config, decoder.decode, dead_letters, watch
        self._client: Any = None
        self._next: Positions = {}  # the next offset to enqueue, ahead of the learner's own positions
        self._resumed = False
        self._ends: Positions = {}
        self._ends_at = 0.0
        self._paused = False
        self._waiting = False
        self._wish = threading.Lock()
        self._to_commit: Positions | None = None  # the newest wish
        self._commit_from = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self, positions: Positions) -> None:
        """Join the group and read on from `positions`; a partition not among them starts by the policy.

        Raises
        ------
        BrokerError
            If Kafka cannot be reached or refuses.

        """
        self._next = dict(positions)
        self._resumed = bool(positions)
        with as_sentence(self._config):
            self._client = make_consumer(self._config)
            self._client.subscribe([self._config.topic], listener=_Listener(self))
        _hand_over_sooner()
        self._thread.start()

    def commit(self, positions: Positions) -> None:
        """Ask for `positions` to be committed to the group; it is done by the polling thread."""
        with self._wish:
            self._to_commit = dict(positions)

    def lag(self, positions: Positions) -> dict[Partition, int]:
        """Return the records between `positions` and the end of each assigned partition, as last seen."""
        return {partition: max(0, end - positions.get(partition, end)) for partition, end in self._ends.items()}

    def stop(self) -> None:
        """Commit what was asked for, leave the group and end the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._pause_or_resume()
                self._poll()
                if time.monotonic() >= self._commit_from:
                    self._commit()
                self._look_at_ends()
            self._commit()
        except BaseException as error:  # noqa: BLE001 - handed to the learning thread, which raises it
            self.queue.fail(error)
        finally:
            self._client.close(autocommit=False, timeout_ms=REQUEST_MILLISECONDS)

    def _poll(self) -> None:
        started = time.perf_counter()
        try:
            polled = self._client.poll(timeout_ms=POLL_MILLISECONDS)
        except OffsetOutOfRangeError as error:
            self._out_of_range(error.args[0])
            return
        except RetriableError as error:
            log.debug("polling goes on: %s", describe(error))
            return
        except KafkaError as error:
            raise BrokerError(f"Kafka at {self._config.bootstrap_servers} refused: {describe(error)}") from error
        for partition, records in polled.items():
            self._enqueue(partition, records)
        if polled:
            self._watch.polled(time.perf_counter() - started)

    def _enqueue(self, partition: Any, records: list[Any]) -> None:
        """Decode `records`; those already enqueued before a rebalance are dropped."""
        key = (partition.topic, partition.partition)
        expected = self._next.get(key, -1)
        if records[0].offset < expected:
            records = [record for record in records if record.offset >= expected]
            if not records:
                return
        decode = self._decode
        outcomes = [decode(record) for record in records]
        for record, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, Reason):
                self._dead_letters.put(record, outcome)
        self._next[key] = records[-1].offset + 1
        size = sum(len(record.value) for record in records if record.value)
        self.queue.put(Arrival(*key, records, outcomes, size))

    def _pause_or_resume(self) -> None:
        """Stop fetching while the learner is behind or dead letters are not taken; a rebalance forgets pauses."""
        blocked = self._dead_letters.blocked
        if self.queue.full or blocked:
            self._paused = True
            self._client.pause(*self._client.assignment())
        elif self._paused and self.queue.drained:
            self._paused = False
            self._client.resume(*self._client.paused())

    def _out_of_range(self, offsets: dict[Any, int]) -> None:
        """Apply the policy to partitions whose next offset retention has deleted, or that were made anew."""
        policy = self._config.out_of_range
        with as_sentence(self._config):
            starts = self._client.beginning_offsets(list(offsets))
            ends = self._client.end_offsets(list(offsets))
        for partition, offset in offsets.items():
            start, end = starts[partition], ends[partition]
            gap = f"{partition.topic}/{partition.partition} has offsets {start} to {end}, and {offset} is wanted"
            if policy == "fail":
                raise BrokerError(f"{gap}; set kafka.out_of_range to 'earliest' or 'latest' to go on from there")
            target = start if policy == "earliest" else end
            skipped = max(0, target - offset)
            log.error("%s; going on from %s, %d records are lost", gap, policy, skipped)
            self._watch.skipped(skipped)
            self._next[partition.topic, partition.partition] = target
            self._client.seek(partition, target)

    def _commit(self) -> None:
        """Commit what was asked for; where Kafka cannot take it now, the wish stays for a later time."""
        positions = self._to_commit
        if positions is None:
            return
        offsets = {TopicPartition(*key): OffsetAndMetadata(offset, "", -1) for key, offset in positions.items()}
        try:
            self._client.commit(offsets, timeout_ms=REQUEST_MILLISECONDS)
        except RetriableError as error:
            self._commit_from = time.monotonic() + LAG_SECONDS
            log.debug("offsets are committed later: %s", describe(error))
            return
        except KafkaError as error:
            log.warning("the group did not take the offsets, the checkpoint stands: %s", describe(error))
        with self._wish:
            if self._to_commit is positions:
                self._to_commit = None

    def _look_at_ends(self) -> None:
        """Ask for the log ends now and then: a paused partition would not tell them."""
        if time.monotonic() - self._ends_at < LAG_SECONDS:
            return
        self._ends_at = time.monotonic()
        assigned = self._client.assignment()
        try:
            ends = self._client.end_offsets(list(assigned), timeout_ms=REQUEST_MILLISECONDS) if assigned else {}
        except KafkaError as error:
            if not self._waiting:
                log.warning("waiting for Kafka at %s: %s", self._config.bootstrap_servers, describe(error))
            self._waiting = True
            return
        if self._waiting and ends:
            self._waiting = False
            log.info("Kafka at %s answers again", self._config.bootstrap_servers)
        self._ends = {(partition.topic, partition.partition): end for partition, end in ends.items()}

    def on_assigned(self, partitions: list[Any]) -> None:
        """Seek every partition to its position, on kafka-python's own thread."""
        mine = {(partition.topic, partition.partition) for partition in partitions}
        self._next |= self.queue.discard(lambda arrival: (arrival.topic, arrival.partition) not in mine)
        for partition in partitions:
            position = self._next.get((partition.topic, partition.partition))
            if position is not None:
                self._client.seek(partition, position)
            elif self._config.start == "earliest" or self._resumed:
                self._client.seek_to_beginning(partition)  # a partition that was added is read whole
            else:
                self._client.seek_to_end(partition)
        self._ends_at = 0.0
        log.info("assigned %d partitions of %s", len(mine), self._config.topic)
        self._watch.assigned(bool(mine))

    def on_lost(self, count: int) -> None:
        """Say that the group has let us go; what is queued stays ours until somebody else is assigned it."""
        log.warning("the group has taken %d partitions of %s away; joining it again", count, self._config.topic)
        self._watch.assigned(False)


def _hand_over_sooner() -> None:
    """Let a thread that waits for the interpreter have it after half a millisecond instead of five.

    kafka-python's network thread reads 4 KiB at a time and gives the interpreter away at each. While another
    thread is busy it then waits a whole switch interval for the next 4 KiB: ingestion fell to a
    third.
    """
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing: positions are the learner's, and the next assignment seeks to them."""

    def on_partitions_lost(self, lost: Any) -> None:
        self._consumer.on_lost(len(lost))

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._consumer.on_assigned(sorted(assigned))
