"""A batch of records, read one by one within bounded memory, whatever its content.

kafka-python decompresses a batch as a whole, and gets stuck at one that it cannot read. Here a batch is a stream: a
record that is too large for memory is skipped, keeping its length and digest; one that cannot be read is reported as
such, and reading continues after it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Any

from kafka import codec
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

from streamlearn.consumer.compression import Stream, decompressed
from streamlearn.consumer.queue import HEADER_BYTES
from streamlearn.events import Reason
from streamlearn.records import Withheld, header_name

LARGEST_RECORD = 32 * 2**20  # bytes; brokers take 1 MiB by default, and the largest hosted ones 20 MiB
MOST_HEADERS = 10_000  # of a record; each takes a hundred bytes of memory, and two of the record
PIECE = 2**18  # bytes that are decompressed at once
SMALL = 2**19  # records of an uncompressed batch below it need no further checks
LONGEST_PREFIX = 64  # bytes before a record's key
BROKEN: tuple[type[Exception], ...] = (
    *(CorruptRecordError, ValueError, IndexError, OverflowError, EOFError, OSError, RuntimeError, zlib.error),
    *((codec.zstd.ZstdError,) if codec.zstd else ()),
    *((codec.snappy.UncompressError,) if hasattr(codec.snappy, "UncompressError") else ()),
)
"""What decompressing and reading raise on corrupt bytes."""


class Budget:
    """How many bytes may still be returned at once."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0


class Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch of kafka-python's, read within bounds.

    Parameters
    ----------
    whole
        The batch as kafka-python creates it, not yet read.
    budget
        Charged with what is returned.

    """

    _buffer: Any
    _pos: int

    def __init__(self, whole: DefaultRecordBatch, budget: Budget) -> None:
        super().__init__(whole._buffer)  # noqa: SLF001 - it has no public name
        self._budget = budget
        self._stream: Stream | None = None
        self._broken = False

    def validate_crc(self) -> bool:
        """Check the batch's checksum; if it does not match, the batch is passed on as unreadable."""
        self._broken = not super().validate_crc()
        return True

    def __iter__(self) -> Iterator[Any]:
        """Yield its records, and if no more can be read, one placeholder for the rest."""
        raw = bytes(self._buffer)
        try:
            if self._broken:
                raise CorruptRecordError
            read = self._carefully if self._open() else self._read_msg
            for _ in range(self._num_records):
                try:
                    record = read()
                except (ValueError, IndexError, CorruptRecordError):
                    record = self._carefully()
                yield record
        except BROKEN:
            withheld = Withheld.of(Reason.UNREADABLE, length=len(raw), sha256=hashlib.sha256(raw).hexdigest())
            yield self._record(len(raw), self.last_offset_delta, 0, None, withheld, [])

    def _open(self) -> bool:
        """Begin to decompress it, if it is compressed; return whether its records need further checks."""
        kind = self.compression_type
        if kind == self.CODEC_NONE:
            self._budget.left -= len(self._buffer)
            return len(self._buffer) > SMALL
        self._assert_has_codec(kind)
        self._stream = decompressed(kind, bytes(self._buffer[self._pos :]))
        self._buffer, self._pos = b"", 0
        return True

    def _carefully(self) -> Any:
        """Return the next record; without its content if that is too large or corrupt."""
        self._have(LONGEST_PREFIX, at_least=1)
        length, start = decode_varint(self._buffer, self._pos)
        if length < 0:
            raise ValueError("a record of negative length")
        if length > LARGEST_RECORD:
            return self._pass_over(length, Reason.RECORD_TOO_LARGE)
        size = start - self._pos + length
        self._have(size, at_least=size)
        content = self._pos + size - length
        headers = self._headers(content)
        self._budget.left -= HEADER_BYTES * headers + (size if self._stream else 0)
        if headers > MOST_HEADERS:
            return self._pass_over(length, Reason.RECORD_TOO_LARGE)
        try:
            return self._read_msg()
        except UnicodeDecodeError:  # Kafka specifies UTF-8 for header names but does not check it
            return self._read_any_names(length, content)

    def _headers(self, position: int) -> int:
        """Return the number of headers of the record whose content begins at `position`."""
        for part in ("attributes", "timestamp", "offset", "key", "value"):
            number, position = decode_varint(self._buffer, position)
            position += max(number, 0) if part in ("key", "value") else 0
        count: int = decode_varint(self._buffer, position)[0]
        return count

    def _read_any_names(self, length: int, position: int) -> Any:
        """Return the next record, accepting any bytes as header names."""
        end = position + length
        _, position = decode_varint(self._buffer, position)
        timestamp, position = decode_varint(self._buffer, position)
        offset, position = decode_varint(self._buffer, position)
        key, position = self._field(position)
        value, position = self._field(position)
        count, position = decode_varint(self._buffer, position)
        headers = []
        for _ in range(count):
            name, position = self._field(position)
            content, position = self._field(position)
            headers.append((header_name(name or b""), content))
        if position != end:
            raise ValueError("a record that is not as long as it says")
        self._pos = end
        return self._record(length, offset, timestamp, key, value, headers)

    def _field(self, position: int) -> tuple[bytes | None, int]:
        """Return the field at `position`, None if it is null, and the position of its end."""
        size, position = decode_varint(self._buffer, position)
        if size < 0:
            return None, position
        return bytes(self._buffer[position : position + size]), position + size

    def _pass_over(self, length: int, reason: Reason) -> Any:
        """Return the next record, of `length` bytes, with at most its key, keeping nothing else of it in memory."""
        _, self._pos = decode_varint(self._buffer, self._pos)
        end = length
        _, end = self._number(end)  # attributes
        timestamp, end = self._number(end)
        offset, end = self._number(end)
        size, end = self._number(end)
        key = self._peek(size) if 0 <= size <= PIECE else None
        self._skip(max(size, 0), hashlib.sha256())
        end -= max(size, 0)
        size, end = self._number(end)
        digest = hashlib.sha256()
        self._skip(max(size, 0), digest)
        self._skip(end - max(size, 0), hashlib.sha256())
        withheld = Withheld.of(reason, length=max(size, 0), sha256=digest.hexdigest())
        return self._record(length, offset, timestamp, key, withheld, [])

    def _number(self, left: int) -> tuple[int, int]:
        """Return the next number, and how many of the `left` bytes of the record remain after it."""
        self._have(10, at_least=1)
        before = self._pos
        number, self._pos = decode_varint(self._buffer, before)
        return number, left - (self._pos - before)

    def _peek(self, size: int) -> bytes:
        """Return the next `size` bytes without consuming them."""
        self._have(size, at_least=size)
        return bytes(self._buffer[self._pos : self._pos + size])

    def _skip(self, size: int, digest: Any) -> None:
        """Skip `size` bytes, adding them to `digest`."""
        if size < 0:
            raise ValueError("a record that is longer than it says")
        while size:
            self._have(PIECE, at_least=1)
            piece = self._buffer[self._pos : self._pos + min(size, PIECE)]
            digest.update(piece)
            self._pos += len(piece)
            size -= len(piece)

    def _have(self, size: int, *, at_least: int) -> None:
        """Fill the buffer with the next `size` bytes, or with all that are left if these are `at_least` so many."""
        while self._stream and len(self._buffer) - self._pos < size:
            piece = self._stream.read(max(PIECE, size - len(self._buffer) + self._pos))
            if not piece:
                break
            self._buffer, self._pos = bytes(self._buffer[self._pos :]) + piece, 0
        if len(self._buffer) - self._pos < at_least:
            raise EOFError("a batch that ends within a record")

    def _record(
        self,
        length: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
    ) -> DefaultRecord:
        """Return a record as kafka-python does; `offset` and `timestamp` are relative to the batch's."""
        appended = self.timestamp_type == self.LOG_APPEND_TIME
        return DefaultRecord(
            length,
            self.base_offset + offset,
            self.max_timestamp if appended else self.first_timestamp + timestamp,
            self.timestamp_type,
            key,
            value,
            headers,
        )
