"""Batches are read within bounded memory, and whatever they hold."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import codec
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

from streamlearn.consumer import batch
from streamlearn.consumer.batch import MOST_HEADERS, Batch, Budget
from streamlearn.events import Reason
from streamlearn.records import Withheld

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
AVAILABLE = {NONE: True, GZIP: True, SNAPPY: codec.has_snappy(), LZ4: codec.has_lz4(), ZSTD: codec.has_zstd()}
CODECS = [
    pytest.param(kind, marks=pytest.mark.skipif(not there, reason="this codec is not installed"), id=name)
    for (kind, there), name in zip(AVAILABLE.items(), ("none", "gzip", "snappy", "lz4", "zstd"), strict=True)
]
Given = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def written(records: list[Given], kind: int = NONE) -> bytes:
    """Return a batch of `records`, each a key, a value and headers, as it stands in Kafka's log."""
    builder = DefaultRecordBatchBuilder(2, kind, False, -1, -1, -1, 2**40)
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, 1000 + offset, key, value, headers)
    return bytes(builder.build())


def read(log: bytes, budget: Budget | None = None) -> Batch:
    made = Batch(DefaultRecordBatch(log), budget or Budget())
    assert made.validate_crc()
    return made


def resealed(log: bytes, alter: Callable[[bytearray], Any]) -> bytes:
    """Return `log` altered, with the checksum of what it then is."""
    whole = bytearray(log)
    alter(whole)
    checksum = batch_checksum(whole)
    whole[DefaultRecordBatch.CRC_OFFSET : DefaultRecordBatch.CRC_OFFSET + 4] = checksum.to_bytes(4, "big")
    return bytes(whole)


def batch_checksum(whole: bytearray) -> int:
    return int(calc_crc32c(memoryview(whole)[DefaultRecordBatch.ATTRIBUTES_OFFSET :]))


@pytest.mark.parametrize("kind", CODECS)
def test_records_are_those_that_kafka_python_reads(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[Given] = [
        (None, None, []),
        (b"", b"", [("", None), ("name", b""), ("näme", b"\x00" * 300)]),
        *((b"key", bytes([number % 7]) * number * 50, [("n", b"1")]) for number in range(200)),
    ]
    log = written(records, kind)
    for small in (batch.SMALL, 1):  # with and without a second look
        monkeypatch.setattr(batch, "SMALL", small)
        assert [repr(record) for record in read(log)] == [repr(record) for record in DefaultRecordBatch(log)]


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=50),
            st.none() | st.binary(max_size=2000),
            st.lists(st.tuples(st.text(max_size=9), st.none() | st.binary(max_size=9)), max_size=4),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([kind for kind, there in AVAILABLE.items() if there]),
)
def test_any_records_of_any_codec_come_back_as_they_were(records: list[Given], kind: int) -> None:
    assert [(r.key, r.value, r.headers) for r in read(written(records, kind))] == records


@pytest.mark.parametrize("kind", CODECS[1:])
def test_a_batch_is_decompressed_no_further_than_its_records_are_wanted(kind: int) -> None:
    log = written([(None, bytes(10**6), [])] * 100, kind)
    tracemalloc.start()
    for record in read(log):
        assert record.size_in_bytes > 10**6
        del record
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * 10**6 + 3 * len(log)


@pytest.mark.parametrize("kind", CODECS)
def test_a_record_too_large_for_memory_is_passed_over_with_its_length_and_digest(
    kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "LARGEST_RECORD", 3 * 10**6)
    monkeypatch.setattr(batch, "SMALL", 1000)
    large = bytes(range(200)) * 20_000
    log = written([(b"k", b"before", []), (b"key", large, [("h", b"x" * 10**6)]), (b"k", b"after", [])], kind)
    first, second, third = read(log)
    assert (first.value, third.value) == (b"before", b"after")
    assert (second.offset, second.timestamp, second.key) == (1, 1001, b"key")
    assert isinstance(second.value, Withheld)
    assert second.value.reason is Reason.RECORD_TOO_LARGE
    assert (second.value.length, second.value.sha256) == (len(large), hashlib.sha256(large).hexdigest())


def test_a_record_that_is_all_headers_does_not_become_a_hundred_times_its_size() -> None:
    log = written([(None, b"before", []), (None, b"value", [("", None)] * (MOST_HEADERS + 1))], GZIP)
    before, stuffed = read(log)
    assert before.value == b"before"
    assert isinstance(stuffed.value, Withheld)
    assert stuffed.headers == []


def test_the_name_of_a_header_that_is_not_utf_8_costs_nothing() -> None:
    intact = written([(b"k", b"one", [("?!", b"x")]), (None, b"two", [])])
    log = resealed(intact, lambda whole: _set(whole, b"?!", b"\xff!"))
    one, two = read(log)
    assert (one.key, one.value, one.headers) == (b"k", b"one", [("\\xff!", b"x")])
    assert one.headers[0][0].raw == b"\xff!"
    assert two.value == b"two"


def _set(whole: bytearray, old: bytes, new: bytes) -> None:
    at = whole.index(old)
    whole[at : at + len(old)] = new


def test_a_batch_that_was_altered_is_one_unreadable_record_up_to_its_last_offset() -> None:
    log = bytearray(written([(None, b"value", [])] * 5))
    log[-1] ^= 1
    (record,) = read(bytes(log))
    assert record.offset == 4
    assert isinstance(record.value, Withheld)
    assert (record.value.reason, record.value.length) == (Reason.UNREADABLE, len(log))


@pytest.mark.parametrize("kind", CODECS)
@given(st.data())
def test_what_comes_before_a_break_is_read_and_nothing_raises(kind: int, data: st.DataObject) -> None:
    whole = written([(None, bytes([number]) * 100, [("a", b"b")]) for number in range(20)], kind)
    header = DefaultRecordBatch.HEADER_STRUCT.size

    def spoil(log: bytearray) -> None:
        for _ in range(data.draw(st.integers(1, 5))):
            log[data.draw(st.integers(header, len(log) - 1))] = data.draw(st.integers(0, 255))

    for record in read(resealed(whole, spoil)):
        assert record.value is None or isinstance(record.value, bytes)


@pytest.mark.parametrize("kind", CODECS[1:])
def test_a_compressed_batch_cut_short_ends_in_an_unreadable_record(kind: int) -> None:
    log = written([(None, bytes([number]) * 1000, []) for number in range(50)], kind)
    count = len(log) // 3

    def cut(whole: bytearray) -> None:
        del whole[-count:]

    *_, last = read(resealed(log, cut))
    assert last.offset == 49
    assert isinstance(last.value, Withheld)


def test_what_is_handed_over_is_charged_with_its_decompressed_size() -> None:
    budget = Budget()
    for number, _ in enumerate(read(written([(None, bytes(1000), [])] * 10, GZIP), budget), 1):
        assert -budget.left // 1000 == number
