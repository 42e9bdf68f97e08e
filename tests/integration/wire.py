"""Records written as other clients write them: kafka-python's producer refuses some that Kafka takes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any, NamedTuple, Self

from kafka import KafkaAdminClient
from kafka.errors import for_code
from kafka.protocol.producer import ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


class RawName(str):
    """A header's name that is written as `raw` bytes, which need not be UTF-8."""

    __slots__ = ("raw",)
    raw: bytes

    def __new__(cls, raw: bytes) -> Self:
        name = super().__new__(cls, raw.decode(errors="backslashreplace"))
        name.raw = raw
        return name

    def encode(self, *_: str) -> bytes:
        return self.raw


class Sent(NamedTuple):
    """A record as it is sent."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None


def put(bootstrap_servers: str, topic: str, batches: Iterable[tuple[list[Sent], str]], *, partition: int = 0) -> None:
    """Append each of `batches`, records and the codec they are compressed with, to a partition on a single broker.

    Raises
    ------
    KafkaError
        Where the broker refuses one.

    """
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers)) as admin:
        for records, codec in batches:
            admin._manager.run(_append, admin._manager, topic, partition, batch(records, codec))


def batch(records: list[Sent], codec: str = "none") -> bytes:
    """Return `records` as one batch of the format of today."""
    builder = MemoryRecordsBuilder(2, CODECS[codec], 2**31 - 1)
    for sent in records:
        builder.append(sent.timestamp, sent.key, sent.value, list(sent.headers))
    builder.close()
    return bytes(builder.buffer())


async def _append(manager: Any, topic: str, partition: int, records: bytes) -> None:
    data = ProduceRequest.TopicProduceData
    content = data.PartitionProduceData(index=partition, records=records)
    request = ProduceRequest(
        acks=-1,
        timeout_ms=30_000,
        topic_data=[data(name=topic, partition_data=[content])],
        min_version=3,
        max_version=9,
    )
    answer = (await manager.send(request)).responses[0].partition_responses[0]
    if answer.error_code:
        raise for_code(answer.error_code)(answer.error_message)
