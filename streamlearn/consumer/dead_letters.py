"""Dead letters: refused records, kept byte for byte in a topic of their own, with the reason and the source.

They are sent by a thread of their own, so that neither polling nor learning ever waits for the producer. A
record that Kafka does not take is tried again for ever; meanwhile :attr:`DeadLetters.blocked` stops the
consumer, and :meth:`DeadLetters.settle` keeps a checkpoint from covering its offset. After a crash a dead
letter may be there twice, never not at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from kafka.errors import KafkaError

from streamlearn.events import Reason

log = logging.getLogger(__name__)

HEADER = "streamlearn."
MOST_PENDING = 1000  # unacknowledged dead letters at which consumption stops,
MOST_PENDING_BYTES = 64 * 2**20  # or their bytes
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class DeadLetters:
    """Sends refused records to the dead-letter topic.

    Parameters
    ----------
    make_producer
        Makes the ``KafkaProducer``, on the sending thread and only once a record is refused.
    topic
        The dead-letter topic.
    refused
        Told the reason of every refused record, as it is refused.

    """

    def __init__(self, make_producer: Callable[[], Any], topic: str, *, refused: Callable[[Reason], None]) -> None:
        self._make_producer, self._topic, self._refused = make_producer, topic, refused
        self._pending: deque[tuple[Any, Reason]] = deque()  # leaves only when acknowledged
        self._changed = threading.Condition()
        self._stopping = False
        self._pending_bytes = 0
        self._accepted = 0
        self._acknowledged = 0
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="dead-letters", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, record: Any, reason: Reason) -> None:
        """Take over `record`, kafka-python's ``ConsumerRecord``, without waiting."""
        self._refused(reason)
        with self._changed:
            self._pending.append((record, reason))
            self._pending_bytes += len(record.value or b"")
            self._accepted += 1
            self._changed.notify_all()

    @property
    def blocked(self) -> bool:
        """Whether Kafka does not take them, or not fast enough: consumption should wait."""
        many = len(self._pending) >= MOST_PENDING or self._pending_bytes >= MOST_PENDING_BYTES
        return bool(self._pending) and (self._failing or many)

    def settle(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all that were put so far are acknowledged; return whether they are."""
        with self._changed:
            wanted = self._accepted
            return self._changed.wait_for(lambda: self._acknowledged >= wanted, timeout)

    def stop(self) -> None:
        """End the thread; what is not acknowledged is read again after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        producer: Any = None
        while self._wait():
            batch = list(self._pending)
            try:
                producer = producer or self._make_producer()
                done = self._send(producer, batch)
            except KafkaError as error:
                done = 0
                self._report(error)
            with self._changed:
                for _ in range(done):
                    record, _ = self._pending.popleft()
                    self._pending_bytes -= len(record.value or b"")
                self._acknowledged += done
                self._changed.notify_all()
            if done < len(batch):
                _close(producer)  # an idempotent producer does not survive every error
                producer = None
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, RETRY_SECONDS)
        _close(producer)

    def _wait(self) -> bool:
        """Return True when there is something to send, False when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._stopping)
            return not self._stopping

    def _send(self, producer: Any, batch: list[tuple[Any, Reason]]) -> int:
        """Send `batch` and return how many of its first records were acknowledged."""
        futures = [self._submit(producer, record, reason) for record, reason in batch]
        for done, future in enumerate(futures):
            try:
                future.get()
            except KafkaError as error:
                self._report(error)
                return done
        if self._failing:
            log.info("dead letters are taken by topic %s again", self._topic)
            self._failing = False
        return len(batch)

    def _submit(self, producer: Any, record: Any, reason: Reason) -> Any:
        headers = [
            *(record.headers or ()),
            (f"{HEADER}reason", reason.value.encode()),
            (f"{HEADER}topic", record.topic.encode()),
            (f"{HEADER}partition", str(record.partition).encode()),
            (f"{HEADER}offset", str(record.offset).encode()),
            (f"{HEADER}timestamp", str(record.timestamp).encode()),
            (f"{HEADER}refused_at", str(int(time.time() * 1000)).encode()),
        ]
        return producer.send(self._topic, key=record.key, value=record.value, headers=headers)

    def _report(self, error: Exception) -> None:
        if not self._failing:
            log.error("dead letters are not taken by topic %s, consumption waits: %s", self._topic, error)
        self._failing = True


def _close(producer: Any) -> None:
    if producer:
        producer.close(timeout=CLOSE_SECONDS)
