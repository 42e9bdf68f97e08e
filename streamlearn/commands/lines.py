"""The lines of a file, each of which is like the value of a record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from streamlearn.events import Reason
from streamlearn.records import Withheld

LONGEST_LINE = 32 * 2**20  # bytes, the same as for a record


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield each line that is not blank, without its line end; a stand-in if it is too long for memory."""
    while line := file.readline(LONGEST_LINE + 1):
        length = len(line)
        if length <= LONGEST_LINE:
            if line.strip():
                yield line.rstrip(b"\r\n")
            continue
        digest = hashlib.sha256(line)
        while not line.endswith(b"\n") and (line := file.readline(LONGEST_LINE)):
            length += len(line)
            digest.update(line)
        yield Withheld.of(Reason.RECORD_TOO_LARGE, length=length, sha256=digest.hexdigest())
