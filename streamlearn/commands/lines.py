"""The lines of a file, each of which is what the value of a record would be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from streamlearn.events import Reason
from streamlearn.records import Withheld

LONGEST_LINE = 32 * 2**20  # bytes, as of a record


def lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield each line that is not blank, without its end; what stands for it where it is too long for memory."""
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
