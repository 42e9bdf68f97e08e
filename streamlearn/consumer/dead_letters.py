"""Dead letters: refused records, stored byte for byte in their own topic, with the reason and the source.

They are sent by a separate thread, so that neither polling nor learning ever waits for the producer. Temporary failures
(Kafka is unreachable, the topic is missing or cannot be written) are waited for: meanwhile :attr:`DeadLetters.blocked`
stops the consumer, and :meth:`DeadLetters.settle` keeps a checkpoint from covering the record's offset. A record that
Kafka itself refuses (usually for its size) is not retried for ever: a stub is sent instead. After a crash a dead letter
may appear twice, but is never lost.

Any other error is unexpected and ends the learner: see :attr:`DeadLetters.failed`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import TopicPartition
from kafka.errors import (
    AuthorizationError,
    CorruptRecordError,
    InvalidRecordError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RetriableError,
    UnknownTopicOrPartitionError,
    UnsupportedForMessageFormatError,
)

from streamlearn.consumer.client import describe
from streamlearn.consumer.letter import Form, size, write
from streamlearn.errors import StreamlearnError
from streamlearn.events import Reason
from streamlearn.patience import Patience
from streamlearn.records import Record
from streamlearn.unforeseen import unforeseen

log = logging.getLogger(__name__)

MOST_PENDING = 1000  # unacknowledged dead letters at which consumption stops,
MOST_PENDING_BYTES = 64 * 2**20  # or their bytes: keys, values and headers
MOST_SENT_BYTES = 16 * 2**20  # of the letters sent at once, of which the producer holds a second copy
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 2.0
STOP_SECONDS = 4.0  # to close the producer, or give up while it is still looking for a broker
LOOK_SECONDS = 0.2  # between two checks whether to stop, while waiting for Kafka
LEADERLESS_LOOKS = 5  # in a row, after which a partition without a leader is no longer waited for
PATIENCE = 3  # possibly temporary refusals, after which the record itself is taken as the cause

OF_THE_RECORD = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidRecordError,
    CorruptRecordError,  # what brokers before 2.4 return for an invalid record
    UnsupportedForMessageFormatError,
)


@dataclass(eq=False)
class _Pending:
    """A refused record whose letter is not acknowledged yet."""

    record: Record
    reason: Reason
    bytes: int
    number: int
    form: Form = Form.WHOLE
    refusal: str = ""
    alone: bool = False  # whether its letter is sent alone, to find out which letter was refused
    refusals: int = 0
    detail: str | None = None  # None before it is known


class DeadLetters:
    """Sends refused records to the dead-letter topic.

    Parameters
    ----------
    make_producer
        Creates a ``KafkaProducer``, on the sending thread when a record is refused; with `one_by_one`, one that reports
        for each letter whether it is refused.
    topic
        The dead-letter topic.
    refused
        Called with the reason of every refused record, as it is refused.
    detail
        Returns, on the sending thread, what the reason for refusing a record concerns.
    told
        Called once for each refused record, on that thread, with the record, the reason and its detail.
    patience
        Decides how long to wait for an acknowledgement.

    Attributes
    ----------
    failed
        The error that has ended the sending thread, or None.

    """

    def __init__(
        self,
        make_producer: Callable[..., Any],
        topic: str,
        *,
        refused: Callable[[Reason], None],
        detail: Callable[[Record, Reason], str] = lambda *_: "",
        told: Callable[[Record, Reason, str], None] = lambda *_: None,
        patience: Patience | None = None,
    ) -> None:
        self._make_producer, self._topic, self._refused = make_producer, topic, refused
        self._detail, self._told, self._patience = detail, told, patience or Patience()
        self._pending: deque[_Pending] = deque()  # removed only when acknowledged
        self._changed = threading.Condition()
        self._stopping = False
        self._pending_bytes = 0
        self._accepted = 0
        self._failing = False
        self.failed: StreamlearnError | None = None
        self._thread = threading.Thread(target=self._run, name="dead-letters", daemon=True)

    def start(self) -> None:
        """Start the sending thread."""
        self._thread.start()

    def put(self, record: Record, reason: Reason) -> None:
        """Accept `record` without blocking."""
        self._refused(reason)
        with self._changed:
            self._accepted += 1
            self._pending.append(_Pending(record, reason, size(record), self._accepted))
            self._pending_bytes += self._pending[-1].bytes
            self._changed.notify_all()

    @property
    def blocked(self) -> bool:
        """Whether Kafka does not accept them, or not fast enough, so that consumption should wait."""
        many = len(self._pending) >= MOST_PENDING or self._pending_bytes >= MOST_PENDING_BYTES
        return bool(self._pending) and (self._failing or many)

    def settle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all records put so far are acknowledged; return whether they are."""
        with self._changed:
            wanted = self._accepted
            self._patience.wait_for(self._changed, lambda: self.failed or self._oldest() > wanted, timeout)
            return self._oldest() > wanted

    def stop(self) -> None:
        """End the thread; what is not acknowledged is read again after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _oldest(self) -> int:
        """Return the number of the oldest unacknowledged letter, or that of the next one."""
        return self._pending[0].number if self._pending else self._accepted + 1

    def _run(self) -> None:
        producer: Any = None
        alone = False
        try:
            while self._wait():
                batch = self._next()
                if batch[0].alone is not alone:
                    close_producer(producer)
                    producer, alone = None, batch[0].alone
                try:
                    producer = producer or self._make_producer(one_by_one=alone)
                    errors = self._send(producer, batch)
                except (KafkaError, OSError) as error:  # OSError: a connection or a certificate
                    errors = dict.fromkeys(batch, error)
                self._acknowledge([pending for pending in batch if pending not in errors])
                if errors:
                    close_producer(producer)  # an idempotent producer does not survive every error
                    producer = None
                    self._judge(errors)
                elif self._failing:
                    self._failing = False
                    log.info("can write to %s again; consumption resumed", self._topic)
        except BaseException as error:  # noqa: BLE001 - handed to the learning thread, which raises it
            with self._changed:
                self.failed = unforeseen("dead-letters", error)
                self._changed.notify_all()
        finally:
            close_producer(producer)

    def _wait(self) -> bool:
        """Return True when there is something to send, False when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._stopping)
            return not self._stopping

    def _next(self) -> list[_Pending]:
        """Return the oldest letters, as many as can be sent at once in the same way."""
        batch: list[_Pending] = []
        room = MOST_SENT_BYTES
        for pending in list(self._pending):
            room -= pending.bytes
            if batch and (room < 0 or pending.alone is not batch[0].alone):
                break
            batch.append(pending)
        return batch

    def _send(self, producer: Any, batch: list[_Pending]) -> dict[_Pending, Exception]:
        """Send `batch`, and return the letters that Kafka did not acknowledge, each with its error."""
        partitions = sorted(producer.partitions_for(self._topic) or [0])
        errors: dict[_Pending, Exception] = {}
        futures = {}
        for pending in batch:
            record, reason = pending.record, pending.reason
            if pending.detail is None:
                pending.detail = self._detail(record, reason)
                self._told(record, reason, pending.detail)
            letter = write(record, reason, pending.form, detail=pending.detail, refusal=pending.refusal)
            # by the source's partition: kafka-python would hash the key in Python, a second for two megabytes
            partition = partitions[pending.record.partition % len(partitions)]
            if not _is_led(producer, self._topic, partition):
                errors[pending] = LeaderNotAvailableError(f"partition {partition} has no leader")
                continue
            try:
                futures[pending] = partition, producer.send(self._topic, **letter._asdict(), partition=partition)
            except KafkaError as error:
                errors[pending] = error
            except ValueError:  # the topic has just lost its partitions, or this is a bug of ours
                if partition in (producer.partitions_for(self._topic) or ()):
                    raise
                errors[pending] = UnknownTopicOrPartitionError(f"partition {partition} has gone")
        patience = producer.config["delivery_timeout_ms"] / 1000 + RETRY_SECONDS  # in case it is not enforced
        deadline = time.monotonic() + patience
        for pending, (partition, future) in futures.items():
            try:
                self._get(future, deadline, led=partial(_is_led, producer, self._topic, partition))
            except KafkaError as error:
                errors[pending] = error
        return errors

    def _get(self, future: Any, deadline: float, *, led: Callable[[], bool]) -> None:
        """Wait for an acknowledgement; raise Kafka's refusal, or a timeout.

        Without a leader there is no waiting: kafka-python would use a whole CPU core to look for one.
        """
        looks_without = 0
        while not future.is_done:
            try:
                future.get(timeout=LOOK_SECONDS)
            except KafkaTimeoutError:
                if future.is_done:
                    break
                looks_without = 0 if led() else looks_without + 1
                if looks_without == LEADERLESS_LOOKS:
                    raise LeaderNotAvailableError("the topic or the leader of its partition is gone") from None
                if self._stopping or time.monotonic() > deadline:
                    raise KafkaTimeoutError("no acknowledgement in time") from None
        future.get(timeout=0)

    def _acknowledge(self, taken: list[_Pending]) -> None:
        with self._changed:
            for pending in taken:
                self._pending.remove(pending)
                self._pending_bytes -= pending.bytes
            self._changed.notify_all()
        for pending in taken:
            if pending.form is not Form.WHOLE:
                of, where = pending.record, self._topic
                place = f"{of.topic}/{of.partition} at offset {of.offset}"
                log.warning("%s takes only a stub of the dead letter of %s: %s", where, place, pending.refusal)

    def _judge(self, errors: dict[_Pending, Exception]) -> None:
        """Wait a little, unless retrying at once makes sense: in a smaller form, or to find the letter to blame."""
        passing = [error for pending, error in errors.items() if not self._of_the_record(pending, error)]
        if passing and not self._stopping:
            if not self._failing:
                log.error("cannot write to %s; consumption paused: %s", self._topic, describe(passing[0]))
            self._failing = True
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, RETRY_SECONDS)

    def _of_the_record(self, pending: _Pending, error: Exception) -> bool:
        """Whether a refusal is due to the letter, which is then sent in a smaller form, and not temporary."""
        if isinstance(error, RetriableError | AuthorizationError | OSError):
            return False
        if not pending.alone:
            pending.alone = True
            return True
        pending.refusals += 1
        if pending.refusals < PATIENCE and not isinstance(error, OF_THE_RECORD):
            return False
        pending.refusals = 0
        if pending.form is Form.BARE:  # not even that is accepted: the topic is the cause, which an operator can change
            pending.form = Form.WHOLE
            return False
        if pending.form is Form.WHOLE:
            pending.refusal = type(error).__name__
        pending.form = Form(pending.form + 1)
        return True


def _is_led(producer: Any, topic: str, partition: int) -> bool:
    """Whether `partition` has a leader, by the producer's last metadata."""
    return producer._metadata.leader_for_partition(TopicPartition(topic, partition)) not in (None, -1)  # noqa: SLF001


def close_producer(producer: Any) -> None:
    """Close `producer`, if any, without waiting long for what it still holds."""
    if not producer:
        return
    try:
        producer.close(timeout=CLOSE_SECONDS)
    except KafkaError:  # it still holds letters, and kafka-python would keep trying to send them
        producer._sender.force_close()  # noqa: SLF001 - there is no other way to tell it
