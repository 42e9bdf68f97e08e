"""Sends refused records to the topic of events again, each once however often and wherever this is interrupted.

In one of Kafka's transactions each record goes to its topic, and a receipt for it into the dead-letter topic: both are
there, or neither (KIP-98). Whoever redrives first takes over the transactional id of the dead-letter topic, by which
Kafka ends what another process still has open and refuses whatever that one sends later; only then it reads which
letters have a receipt. A letter is named by the record that it is about, so that one that is there twice is sent once.

A receipt stands in the partition of its letter, and behind it: retention does not remove it before the letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from kafka.errors import IllegalStateError, KafkaError, KafkaTimeoutError, ProducerFencedError, UnsupportedVersionError

from streamlearn.config import READ_COMMITTED, Config, Kafka
from streamlearn.consumer.client import as_sentence, require_topics
from streamlearn.consumer.dead_letter_topic import make_dead_letter_producer
from streamlearn.consumer.dead_letters import OF_THE_RECORD
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.letter import size
from streamlearn.consumer.letters import DeadLetterTopic
from streamlearn.consumer.opened import as_it_came, receipt
from streamlearn.errors import BrokerError, ConfigurationError
from streamlearn.events import Reason
from streamlearn.records import DeadLetter, Origin

MOST_LETTERS, MOST_BYTES = 500, 8 * 2**20  # of one transaction: what Kafka may have to take back
TRANSACTION_MILLISECONDS = 30_000  # after which Kafka ends one whose process is gone, and learners read on behind it
ANSWER_MILLISECONDS = 30_000  # that the end of a transaction is waited for


@dataclass
class Redriven:
    """What became of the letters that were asked for.

    Attributes
    ----------
    sent
        How many records were sent to the topic of events, or would be.
    before
        How many have been redriven before.
    still_refused
        How many would be refused again by the configuration as it is, by reason.
    not_held
        Records that their letters do not hold: they were too large, or not readable.
    not_taken
        Records that Kafka does not take, with its error.
    elsewhere
        How many letters are about records of other topics.

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
    """Send the records of those letters that are `wanted` and that would be events now; of a `dry_run`, count them.

    A record goes to the partition that it was in, with its key, value and headers and a header that says where it
    stood. Its time is that of now, unless the event tells its own: of an old one retention might take the record before
    it is read.

    Raises
    ------
    ConfigurationError
        If the learner reads what transactions have not committed.
    UnavailableError
        If Kafka, or the registry of a schema, does not answer; what has been sent then is known the next time.
    BrokerError
        If Kafka refuses.

    """
    kafka = config.kafka
    if kafka.isolation_level != READ_COMMITTED:
        raise ConfigurationError(
            f"kafka.client.isolation_level is '{kafka.isolation_level}': a learner would read what is sent twice; "
            f"'{READ_COMMITTED}' is needed to redrive"
        )
    partitions, found = require_topics(kafka), Redriven()
    if dry_run:
        topic = DeadLetterTopic(kafka)
        found.sent = sum(1 for _ in _due(topic, config, found, wanted, _receipts(topic)))
        return found
    with as_sentence(kafka), closing(_producer(kafka)) as producer:
        try:
            topic = DeadLetterTopic(kafka)  # not sooner: from here on there are no receipts but ours
            sending = _Sending(producer, kafka, partitions, found)
            for batch in _batches(_due(topic, config, found, wanted, _receipts(topic))):
                sending.send(batch)
                progress(found)
        except ProducerFencedError:
            raise BrokerError(
                f"the dead letters of {kafka.dead_letter_topic} are being redriven by somebody who began later; "
                f"{found.sent} were sent here before that, and none twice"
            ) from None
    return found


def _producer(config: Kafka) -> Any:
    """Return a producer that has taken over the transactional id, what was left open by others being ended."""
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


def _receipts(topic: DeadLetterTopic) -> set[Origin]:
    return {found for found in topic.read() if isinstance(found, Origin)}


def _due(
    topic: DeadLetterTopic,
    config: Config,
    found: Redriven,
    wanted: Callable[[DeadLetter], bool],
    redriven: set[Origin],
) -> Iterator[DeadLetter]:
    """Yield the letters that are to be redriven, counting the others in `found`; each record is in one of them."""
    decoder, met = Decoder(config.events, config.kafka.schema_registry), set[Origin]()
    for letter in topic.read():
        if not isinstance(letter, DeadLetter) or letter.origin in met or not wanted(letter):
            continue
        met.add(letter.origin)
        if letter.origin in redriven:
            found.before += 1
        elif letter.record.topic != config.kafka.topic:
            found.elsewhere += 1
        elif letter.stub or (letter.record.key is None and letter.record.value is None):
            found.not_held.append(str(letter.origin))
        elif isinstance(reason := decoder.decode(letter.record), Reason):
            detail = decoder.detail(letter.record, reason)
            found.still_refused[f"{reason.value}: {detail}" if detail else reason.value] += 1
        else:
            yield letter


def _batches(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    batch, room = list[DeadLetter](), MOST_BYTES
    for letter in letters:
        batch.append(letter)
        room -= size(letter.record)
        if len(batch) >= MOST_LETTERS or room <= 0:
            yield batch
            batch, room = [], MOST_BYTES
    if batch:
        yield batch


class _Sending:
    """Sends letters in transactions; what Kafka does not take for what it is, is left out by name."""

    def __init__(self, producer: Any, config: Kafka, partitions: int, found: Redriven) -> None:
        self._producer, self._config, self._partitions, self._found = producer, config, partitions, found

    def send(self, batch: list[DeadLetter]) -> None:
        """Send `batch` in one transaction; where Kafka does not take all of it, each in one of its own."""
        error = self._transaction(batch)
        if error is None:
            self._found.sent += len(batch)
        elif len(batch) > 1:
            for letter in batch:
                self.send([letter])
        else:
            self._found.not_taken[str(batch[0].origin)] = type(error).__name__

    def _transaction(self, batch: list[DeadLetter]) -> KafkaError | None:
        """Send `batch`, each record with its receipt; where Kafka has something against one, none, and return that."""
        producer, dead = self._producer, self._config.dead_letter_topic
        producer.begin_transaction()
        try:
            futures = []
            for letter in batch:
                key, value, headers = as_it_came(letter)
                record = letter.record
                partition = record.partition % self._partitions
                futures.append(producer.send(record.topic, value, key=key, headers=headers, partition=partition))
                key, headers = receipt(letter)
                futures.append(producer.send(dead, None, key=key, headers=headers, partition=letter.partition))
            producer.flush()
            for future in futures:
                future.get(timeout=ANSWER_MILLISECONDS / 1000)
            self._end(producer._transaction_manager.begin_commit())  # noqa: SLF001 - its own waits without end
        except OF_THE_RECORD as error:
            self._end(producer._transaction_manager.begin_abort())  # noqa: SLF001
            return error
        except BaseException:
            with suppress(KafkaError):  # or Kafka ends it: at the next attempt, or after its time
                self._end(producer._transaction_manager.begin_abort(), within=2000)  # noqa: SLF001
            raise
        return None

    def _end(self, result: Any, *, within: int = ANSWER_MILLISECONDS) -> None:
        self._producer._sender.wakeup()  # noqa: SLF001
        if not result.wait(timeout_ms=within):
            raise KafkaTimeoutError("the end of a transaction was not acknowledged")
