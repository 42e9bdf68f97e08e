"""Sends refused records to the topic of events again, each exactly once, wherever and however often it is interrupted.

One Kafka transaction contains both the record and a receipt for it in the dead-letter topic, so that both are written
or neither (KIP-98). A redrive first takes over the transactional id of the dead-letter topic, so that Kafka aborts the
open transaction of any other process and refuses what that one sends later; only then does it read which letters have a
receipt. A letter is identified by its record, so that a duplicate letter is sent once. A receipt is in the partition of
its letter, after it, so that retention does not remove it before the letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kafka.errors import (
    AuthorizationError,
    IllegalStateError,
    InvalidProducerEpochError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    RetriableError,
    UnsupportedVersionError,
)

from streamlearn.config import READ_COMMITTED, Config, Kafka
from streamlearn.consumer.client import as_sentence, require_topics
from streamlearn.consumer.dead_letter_topic import make_dead_letter_producer
from streamlearn.consumer.dead_letters import OF_THE_RECORD, close_producer
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.letter import size
from streamlearn.consumer.letters import DeadLetterTopic
from streamlearn.consumer.opened import as_it_came, receipt
from streamlearn.errors import BrokerError, ConfigurationError
from streamlearn.events import Reason
from streamlearn.records import DeadLetter, Origin

MOST_LETTERS, MOST_BYTES = 500, 8 * 2**20  # per transaction: what Kafka may have to abort
TRANSACTION_MILLISECONDS = 30_000  # after which Kafka aborts that of a dead process, and learners read past it
ANSWER_MILLISECONDS = 30_000  # to wait for an acknowledgement
ABORT_MILLISECONDS = 2000


@dataclass
class Redriven:
    """The outcome of a redrive.

    Attributes
    ----------
    sent
        How many records were sent to the topic of events, or would be.
    before
        How many had been redriven before.
    still_refused
        How many would be refused again with the current configuration, by reason.
    not_held
        How many records are not in their letters, because they were too large or unreadable.
    not_taken
        Records that Kafka refuses, with its error.
    elsewhere
        How many letters are for records of other topics.

    """

    sent: int = 0
    before: int = 0
    still_refused: Counter[str] = field(default_factory=Counter)
    not_held: list[str] = field(default_factory=list)
    not_taken: dict[str, str] = field(default_factory=dict)
    elsewhere: int = 0


def redrive(
    config: Config,
    *,
    wanted: Callable[[DeadLetter], bool],
    dry_run: bool,
    progress: Callable[[Redriven], None],
) -> Redriven:
    """Send the records of the `wanted` letters that are valid events now; with `dry_run`, only count them.

    A record goes to the partition that it was in, with its key, value and headers and a header with its old position.
    Its Kafka timestamp is the current time, because retention might delete a record with an old one before it is read;
    the time in an event is kept.

    Raises
    ------
    ConfigurationError
        If the learner reads uncommitted records.
    UnavailableError
        If Kafka, or the registry of a schema, does not answer; the next redrive knows what had been sent.
    BrokerError
        If Kafka refuses.

    """
    kafka = config.kafka
    if kafka.isolation_level != READ_COMMITTED:
        raise ConfigurationError(
            f"kafka.client.isolation_level is '{kafka.isolation_level}': a learner would read what is sent twice; "
            f"'{READ_COMMITTED}' is needed to redrive"
        )
    redriving = _Redriving(config, wanted, progress, require_topics(kafka))
    if dry_run:
        return redriving.tried()
    with as_sentence(kafka):
        while not redriving.went_through():
            pass
    return redriving.found


class _Redriving:
    """Redrives with one producer or, if Kafka refuses records, with several: a producer does not survive a refusal.

    The letters of a refused transaction are then sent alone, to find out which one was refused.
    """

    def __init__(
        self,
        config: Config,
        wanted: Callable[[DeadLetter], bool],
        progress: Callable[[Redriven], None],
        partitions: int,
    ) -> None:
        self._config, self._wanted, self._progress, self._partitions = config, wanted, progress, partitions
        self._decoder = Decoder(config.events, config.kafka.schema_registry, labelled=config.labelled)
        self._sent: set[Origin] = set()
        self._alone: set[Origin] = set()
        self._not_taken: dict[Origin, str] = {}
        self.found = Redriven()

    def tried(self) -> Redriven:
        """Return what would be sent now."""
        topic = DeadLetterTopic(self._config.kafka)
        self.found.sent = sum(1 for _ in self._due(topic))
        return self.found

    def went_through(self) -> bool:
        """Send what is due; return False if Kafka refused a transaction, and the redrive must start over."""
        kafka = self._config.kafka
        not_taken = {str(origin): error for origin, error in self._not_taken.items()}
        self.found = Redriven(sent=len(self._sent), not_taken=not_taken)
        producer, batch = _producer(kafka), list[DeadLetter]()
        try:
            topic = DeadLetterTopic(kafka)  # opened only now: from here on all new receipts are ours
            for batch in self._batches(self._due(topic)):
                self._transaction(producer, batch)
                self._sent.update(letter.origin for letter in batch)
                self.found.sent = len(self._sent)
                self._progress(self.found)
        except (ProducerFencedError, InvalidProducerEpochError):
            raise BrokerError(
                f"the dead letters of {kafka.dead_letter_topic} are being redriven by somebody who began later; "
                f"{self.found.sent} were sent here before that, and none twice"
            ) from None
        except KafkaError as error:
            if not self._set_apart(batch, error):
                raise
            return False
        finally:
            close_producer(producer)
        return True

    def _set_apart(self, batch: list[DeadLetter], error: KafkaError) -> bool:
        """Return whether `error` is due to a record of `batch`, none of which was sent."""
        if len(batch) == 1 and isinstance(error, OF_THE_RECORD):
            self._not_taken[batch[0].origin] = type(error).__name__
        elif len(batch) > 1 and not isinstance(error, RetriableError | AuthorizationError):
            self._alone.update(letter.origin for letter in batch)
        else:
            return False
        return True

    def _due(self, topic: DeadLetterTopic) -> Iterator[DeadLetter]:
        """Yield the letters to redrive, one per record, and count the others."""
        redriven, met = (
            {found for found in topic.read() if isinstance(found, Origin)},
            self._sent | self._not_taken.keys(),
        )
        config, found = self._config, self.found
        not_held = dict[Origin, None]()  # so far: a letter with the record may follow
        for letter in topic.read():
            if not isinstance(letter, DeadLetter) or letter.origin in met or not self._wanted(letter):
                continue
            if letter.origin in redriven:
                found.before += 1
            elif letter.record.topic != config.kafka.topic:
                found.elsewhere += 1
            elif letter.stub or (letter.record.key is None and letter.record.value is None):
                not_held[letter.origin] = None
                continue
            elif isinstance(reason := self._decoder.decode(letter.record), Reason):
                detail = self._decoder.detail(letter.record, reason)
                found.still_refused[f"{reason.value}: {detail}" if detail else reason.value] += 1
            else:
                yield letter
            met.add(letter.origin)
        found.not_held = [str(origin) for origin in not_held if origin not in met]

    def _batches(self, letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
        """Yield the letters of each transaction."""
        batch, room = list[DeadLetter](), MOST_BYTES
        for letter in letters:
            if letter.origin in self._alone:
                yield [letter]
                continue
            batch.append(letter)
            room -= size(letter.record)
            if len(batch) >= MOST_LETTERS or room <= 0:
                yield batch
                batch, room = [], MOST_BYTES
        if batch:
            yield batch

    def _transaction(self, producer: Any, batch: list[DeadLetter]) -> None:
        """Send the record of each of `batch` with its receipt; or none, and raise Kafka's error."""
        dead = self._config.kafka.dead_letter_topic
        producer.begin_transaction()
        try:
            futures = []
            for letter in batch:
                key, value, headers = as_it_came(letter)
                topic, partition = letter.record.topic, letter.record.partition % self._partitions
                futures.append(producer.send(topic, value, key=key, headers=headers, partition=partition))
                key, headers = receipt(letter)
                futures.append(producer.send(dead, None, key=key, headers=headers, partition=letter.partition))
            for future in futures:
                future.get(timeout=ANSWER_MILLISECONDS / 1000)
            _ended(producer, producer._transaction_manager.begin_commit())  # noqa: SLF001 - its own waits without end
        except BaseException:
            with suppress(KafkaError):  # otherwise Kafka aborts it at the next attempt, or when it times out
                _ended(producer, producer._transaction_manager.begin_abort(), within=ABORT_MILLISECONDS)  # noqa: SLF001
            raise


def _producer(config: Kafka) -> Any:
    """Return a producer that has taken over the transactional id, aborting what others had left open."""
    producer = make_dead_letter_producer(config, redrives=TRANSACTION_MILLISECONDS)
    try:
        producer.init_transactions()
    except (UnsupportedVersionError, IllegalStateError):
        producer.close(timeout=0)
        raise BrokerError(
            f"the broker at {config.bootstrap_servers} knows no transactions: records might be learnt twice"
        ) from None
    except BaseException:
        producer.close(timeout=0)
        raise
    return producer


def _ended(producer: Any, result: Any, *, within: int = ANSWER_MILLISECONDS) -> None:
    """Wait until `result`, the commit of a transaction, is acknowledged."""
    producer._sender.wakeup()  # noqa: SLF001
    if not result.wait(timeout_ms=within):
        raise KafkaTimeoutError("the end of a transaction was not acknowledged")
