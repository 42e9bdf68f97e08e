"""A compressed batch as a stream, so that it is decompressed only as far as its records are needed.

A batch of one megabyte, which every broker accepts by default, may decompress to a gigabyte.
"""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Iterator
from typing import Any, Protocol

from kafka import codec
from kafka.record.default_records import DefaultRecordBase

SNAPPY_RATIO = 24  # a copy of 64 bytes takes three: no block grows more than that


class Stream(Protocol):
    """Returns its content piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


def decompressed(kind: int, payload: bytes) -> Stream:
    """Return the content of `payload`, whose codec has the number `kind` in Kafka's protocol."""
    if kind == DefaultRecordBase.CODEC_GZIP:
        return gzip.GzipFile(fileobj=io.BytesIO(payload))
    if kind == DefaultRecordBase.CODEC_ZSTD:
        reader: Stream = codec.zstd.ZstdDecompressor().stream_reader(io.BytesIO(payload), read_across_frames=True)
        return reader
    if kind == DefaultRecordBase.CODEC_LZ4:
        frames: Stream = codec.lz4.open(io.BytesIO(payload))
        return frames
    return _Blocks(_snappy_blocks(payload))


class _Blocks:
    """A stream of blocks, each of which is decompressed when it is needed."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._block = blocks, io.BytesIO()

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes of the next block."""
        while not (piece := self._block.read(size)):
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._block = io.BytesIO(block)
        return piece


def _snappy_blocks(payload: bytes) -> Iterator[bytes]:
    """Yield the blocks of snappy-java's format, or the single one of plain snappy."""
    framed = codec._detect_xerial_stream(payload)  # noqa: SLF001 - it knows the variants of the header
    if not framed:
        yield _block(payload)
        return
    at = 16  # after its header
    while at < len(payload):
        (length,) = struct.unpack_from("!i", payload, at)
        if length < 0:
            raise ValueError("a snappy block of negative length")
        yield _block(payload[at + 4 : at + 4 + length])
        at += 4 + length


def _block(compressed: bytes) -> bytes:
    """Decompress one block, unless it claims an impossible size."""
    claimed = shift = 0
    for byte in compressed[:5]:
        claimed |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    if claimed > SNAPPY_RATIO * len(compressed) + 64:
        raise ValueError("a snappy block that claims more than it can hold")
    block: Any = codec.snappy.decompress(compressed)
    return bytes(block)
