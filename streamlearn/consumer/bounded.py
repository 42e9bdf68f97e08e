"""kafka-python's consumer, limited in the bytes that one poll returns.

kafka-python limits only the number of records: two thousand of them, a few kilobytes compressed, may be gigabytes.
"""

from __future__ import annotations

from itertools import islice
from operator import itemgetter
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import ConsumerRecord, Fetcher
from kafka.errors import CorruptRecordError, KafkaError

from streamlearn.consumer.batch import Batch, Budget
from streamlearn.records import Record

CONTENT = itemgetter(*map(ConsumerRecord._fields.index, Record.__struct_fields__))
FIRST_FORMAT = 2  # of record batches that are read within bounds; since Kafka 0.11


class BoundedConsumer(KafkaConsumer):  # type: ignore[misc]
    """A ``KafkaConsumer`` whose ``poll`` ends with the record that reaches `poll_bytes`.

    Parameters
    ----------
    poll_bytes
        Bytes of keys, values and headers, decompressed; or one uncompressed batch, if that is larger.
    options
        kafka-python's.

    """

    def __init__(self, *, poll_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._fetcher = _BoundedFetcher(self._client, self._subscription, poll_bytes, self.config)

    def topic_id(self, topic: str) -> str | None:
        """Return the id of `topic` as last seen, or None if there is no such topic or the broker has no topic ids."""
        identity = self._cluster.topic_id(topic)
        return str(identity) if identity and identity.int else None

    def offsets_committed(self, partitions: list[Any], timeout_ms: int) -> dict[Any, Any]:
        """Return the group's committed offsets, with metadata, of `partitions`; those without a commit are left out."""
        committed: dict[Any, Any] = self._coordinator.fetch_committed_offsets(partitions, timeout_ms=timeout_ms)
        return committed

    def has_topic(self, topic: str) -> bool:
        """Whether `topic` existed when metadata were last requested."""
        return bool(self._cluster.partitions_for_topic(topic))

    def ask_for_topics(self, timeout_ms: int | None = None) -> None:
        """Request the topics' metadata again; wait for the answer up to `timeout_ms`, or not at all.

        Raises
        ------
        KafkaTimeoutError
            If there is none by then.

        """
        answer = self._cluster.request_update()
        if timeout_ms is not None:
            self._net.run(self._manager.wait_for, answer, timeout_ms)

    def reached(self, partition: Any) -> int | None:
        """Return the offset before which all records of `partition` have been returned, or None if unknown."""
        state = self._subscription.assignment.get(partition)
        return state.position.offset if state and state.position else None


class _BoundedFetcher(Fetcher):  # type: ignore[misc]
    def __init__(self, client: Any, subscriptions: Any, poll_bytes: int, config: dict[str, Any]) -> None:
        super().__init__(client, subscriptions, **config)
        self._poll_bytes, self._budget = poll_bytes, Budget()

    def fetched_records(self, *arguments: Any, **options: Any) -> Any:
        self._budget.left = self._poll_bytes
        return super().fetched_records(*arguments, **options)

    def _append(self, drained: Any, part: Any, max_records: int, update_offsets: bool) -> int:
        """Take records of `part`; once the bytes are used up, act as if the maximum number had been taken."""
        taken: int = super()._append(drained, part, max_records, update_offsets)
        return max_records if self._budget.left <= 0 else taken

    def PartitionRecords(self, fetch_offset: int, partition: Any, records: Any, **options: Any) -> Any:  # noqa: N802
        """Create the object that holds one partition's part of a fetch; kafka-python calls this like a class."""
        return _PartitionRecords(self._budget, fetch_offset, partition, _Batches(records, self._budget), **options)


class _Batches:
    """The batches of a fetch, each read within bounds; those of formats before Kafka 0.11 are kafka-python's."""

    def __init__(self, records: Any, budget: Budget) -> None:
        self._records, self._budget = records, budget

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        return batch if batch is None or batch.magic < FIRST_FORMAT else Batch(batch, self._budget)


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    def __init__(self, budget: Budget, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._budget = budget
        self._failed: Exception | None = None

    def take(self, n: int | None = None) -> list[Record]:
        """Return up to `n` records, fewer if the bytes are used up."""
        if self._failed:
            self.drain()  # otherwise kafka-python would ask it for more for ever
            raise self._failed
        budget, records = self._budget, list[Record]()
        try:
            for record in islice(self.record_iterator, n):
                records.append(Record(*CONTENT(record)))
                if budget.left <= 0:
                    break
        except Exception as error:  # noqa: BLE001 - raised below, or once what came before it has been taken
            where = f"{self.topic_partition.topic}/{self.topic_partition.partition}"
            known = isinstance(error, KafkaError)
            self._failed = error if known else CorruptRecordError(f"{where} cannot be read: {error!r}")
            if not records:
                return self.take(n)
        return records
