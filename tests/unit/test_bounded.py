"""What is handed over of a fetch, as the rest of streamlearn sees it."""

from __future__ import annotations

from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.structs import TopicPartition

from streamlearn.consumer.batch import Budget
from streamlearn.consumer.bounded import _Batches, _PartitionRecords
from streamlearn.records import Record


def taken(log: bytes, *, at_once: int) -> list[Record]:
    budget = Budget()
    budget.left = at_once
    return _PartitionRecords(budget, 0, TopicPartition("t", 3), _Batches(MemoryRecords(log), budget)).take()


def written(magic: int, count: int) -> bytes:
    builder = MemoryRecordsBuilder(magic=magic, compression_type=0, batch_size=2**20, offset=5)
    for number in range(count):
        builder.append(1000 + number, b"key", b"value", [("h", None)] if magic == 2 else [])
    builder.close()
    return bytes(builder.buffer())


def test_records_of_every_format_are_handed_over_with_all_that_they_hold() -> None:
    assert taken(written(2, 1), at_once=1000) == [Record("t", 3, 5, 1000, b"key", b"value", [("h", None)])]
    assert taken(written(1, 1), at_once=1000) == [Record("t", 3, 5, 1000, b"key", b"value", [])]
    assert taken(written(0, 1), at_once=1000) == [Record("t", 3, 5, None, b"key", b"value", [])]


def test_no_more_is_handed_over_than_the_record_with_which_the_bytes_are_used_up() -> None:
    assert len(taken(written(2, 9), at_once=1000)) == 9
    assert len(taken(written(2, 9), at_once=0)) == 1
