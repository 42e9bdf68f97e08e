"""The lines of a journal's segment: JSON with a checksum in front, the first of them a header."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from streamlearn.decisions import Decision
from streamlearn.records import Topics
from streamlearn.storage.files import open_regular

LINE_BYTES = 16 * 2**20  # a step of a hundred thousand ranges; a file with longer lines is not a journal


class Header(msgspec.Struct, frozen=True):
    """The first line of a segment: the settings that decide θ, and the ids of the topics, for its steps."""

    configuration: dict[str, Any]
    topics: Topics = {}

    @property
    def isolation_level(self) -> str | None:
        """Which transactional records were read; None if only committed ones."""
        level = self.configuration.get("kafka", {}).get("client", {}).get("isolation_level")
        return None if level is None else str(level)


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of `path` with their line ends, reading one at a time and at most ``LINE_BYTES`` of it."""
    with open_regular(path) as file:
        while read := file.readline(LINE_BYTES):
            yield read


def as_line(content: Header | Decision) -> bytes:
    """Return the line for `content`: its checksum, then JSON."""
    payload = msgspec.json.encode(content)
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def as_header(line: bytes) -> Header:
    """Return the header in `line`; ValueError if it is not one."""
    return msgspec.json.decode(checked(line), type=Header)


def checked(line: bytes) -> bytes:
    """Return the content of `line`; ValueError if its checksum does not match."""
    checksum, _, content = line.removesuffix(b"\n").partition(b" ")
    if int(checksum, 16) != zlib.crc32(content):
        raise ValueError
    return content
