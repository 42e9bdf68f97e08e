"""Kafka's topic as a source of events."""

from __future__ import annotations

from collections.abc import Iterable

from streamlearn.config import Config
from streamlearn.consumer.client import expel, require_topics, topic_ids
from streamlearn.consumer.consumer import Consumer
from streamlearn.consumer.dead_letter_topic import compaction
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.out_of_range import created_again
from streamlearn.consumer.reread import Rereader, retained
from streamlearn.consumer.sample import look_at_records, newest
from streamlearn.consumer.sampled import looked_at
from streamlearn.errors import BrokerError
from streamlearn.events import Reason
from streamlearn.patience import Patience
from streamlearn.records import Range, Record, Topics
from streamlearn.source import Refusals, Sampled, Watch


class TopicSource:
    """The topic that ``kafka.topic`` names; it is a :class:`~streamlearn.source.Source`.

    Parameters
    ----------
    config
        The whole configuration, of which ``kafka`` and ``events`` are read.

    """

    def __init__(self, config: Config) -> None:
        self._config, self._kafka = config, config.kafka
        self._decoder = Decoder(config.events, config.kafka.schema_registry, labelled=config.labelled)

    def require(self) -> None:
        """Raise BrokerError if Kafka cannot be reached, or the topic does not exist."""
        require_topics(self._kafka)

    def describe(self) -> str:
        """Return how many partitions it has, and a description of a few of its records.

        Raises
        ------
        ConfigurationError
            If records are compressed in a way that cannot be read here.
        BrokerError
            If Kafka cannot be reached, the topic does not exist, or it deletes records that the journal relies on.

        """
        kafka = self._kafka
        partitions = require_topics(kafka)
        records = look_at_records(self._config)
        count = f"{partitions} partition{'s' * (partitions != 1)}"
        found = f"{kafka.bootstrap_servers} has '{kafka.topic}' with {count}; {records}"
        compacted = compaction(kafka)
        if compacted and self._config.publisher.journal.deleted == "fail":
            raise BrokerError(compacted)
        return f"{found}; {compacted}" if compacted else found

    def sample(self, count: int) -> list[Sampled]:
        """Return what would happen to the newest `count` records of the topic, or to all if it has fewer.

        Raises
        ------
        ConfigurationError
            If records are compressed in a way that cannot be read here.
        BrokerError
            If they cannot be read, or Kafka cannot be asked.

        """
        return [looked_at(record, self._decoder) for record in newest(self._kafka, count)]

    def detail(self, record: Record, reason: Reason) -> str:
        """Return what `reason`, for which `record` was refused, concerns, as :meth:`Decoder.detail` does."""
        return self._decoder.detail(record, reason)

    def topics(self) -> Topics:
        """Return the id of the topic; empty if there is no such topic, or the broker is too old to have topic ids."""
        return topic_ids(self._kafka)

    def retained(self) -> list[Range]:
        """Return the range that each partition retains now.

        Raises
        ------
        BrokerError
            If Kafka cannot be asked.

        """
        return retained(self._kafka)

    def require_same(self, before: Topics, now: Topics) -> None:
        """Raise BrokerError if the topic was re-created and ``kafka.out_of_range`` says to fail."""
        if before != now and self._kafka.out_of_range == "fail":
            created_again(self._kafka, before, now)

    def expel(self, member: str) -> None:
        """Remove the dead `member` from the group, if Kafka permits it."""
        expel(self._kafka, member)

    def consumer(self, *, refusals: Refusals, watch: Watch, patience: Patience) -> Consumer:
        """Return a member of ``kafka.group`` that reads the topic."""
        return Consumer(self._kafka, decoder=self._decoder, dead_letters=refusals, watch=watch, patience=patience)

    def reread(self, ranges: Iterable[Range], *, isolation_level: str) -> Rereader:
        """Begin to read `ranges` again, without joining the group."""
        client = self._kafka.client | {"isolation_level": isolation_level}
        return Rereader(self._kafka.model_copy(update={"client": client}), self._decoder, ranges)
