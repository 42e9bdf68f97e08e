"""The journal: the ordered record of which offsets made up each step.

A step's micro-batch is a pure function of the state before it and of its offsets, so whoever has a checkpoint,
the journal behind it and the log can make the same weights again, bit for bit.

Each step is one line, appended before the step is taken, with a checksum in front: a line that a crash tore, or
that a disk altered, is recognised and the journal ends before it. Lines are not synced, because a killed
process loses nothing that it has written; what a power loss takes is learnt anew from the stream.

A segment is a file of lines named by the epoch of its writer and the step after which it begins. Each learner that
becomes active begins a new epoch; each checkpoint begins a new segment, so that those behind the oldest checkpoint
can go. Where an epoch begins, what earlier ones recorded for later steps is void: it was not learnt into what
survived.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from streamlearn.errors import StateError
from streamlearn.events import Range

log = logging.getLogger(__name__)

NAME = re.compile(r"(\d{8})-(\d{12})\.jsonl")


class Header(msgspec.Struct, frozen=True):
    """The first line of a segment: the settings that decide θ, under which its steps were taken."""

    configuration: dict[str, Any]


class Entry(msgspec.Struct, frozen=True):
    """One step: its number, and the ranges of offsets in the order in which they were taken."""

    step: int
    ranges: list[Range]


class Segment(msgspec.Struct, frozen=True, order=True):
    """A file of the journal; its steps are those after `step`."""

    epoch: int
    step: int
    path: Path


class Journal:
    """The journal of one learner.

    Parameters
    ----------
    directory
        Where the segments lie; created with the first.
    configuration
        The settings that decide θ, written into each segment.

    """

    def __init__(self, directory: Path, *, configuration: dict[str, Any]) -> None:
        self.directory = directory
        self._configuration = configuration
        self._epoch = 0
        self._file: int | None = None

    def segments(self) -> list[Segment]:
        """Return the segments in the order in which they were begun."""
        matches = ((NAME.fullmatch(path.name), path) for path in self.directory.glob("*.jsonl"))
        return sorted(Segment(int(match[1]), int(match[2]), path) for match, path in matches if match)

    def entries(self, after: int) -> list[Entry]:
        """Return the recorded steps that follow step `after` without a gap."""
        recorded: dict[int, Entry] = {}
        epoch = 0
        for segment in self.segments():
            if segment.epoch != epoch:
                epoch = segment.epoch
                recorded = {step: entry for step, entry in recorded.items() if step <= segment.step}
            recorded |= {entry.step: entry for entry in self._read(segment)}
        found: list[Entry] = []
        while entry := recorded.get(after + 1 + len(found)):
            found.append(entry)
        return found

    def configuration(self, step: int) -> dict[str, Any]:
        """Return the settings under which the step after `step` was taken.

        Raises
        ------
        StateError
            If it is not recorded.

        """
        for segment in reversed(self.segments()):
            if segment.step <= step:
                try:
                    return _header(segment.path.read_bytes().partition(b"\n")[0]).configuration
                except (OSError, ValueError, msgspec.MsgspecError):
                    raise StateError(f"{segment.path} cannot be read: its first line is not what was written") from None
        raise StateError(f"the journal in {self.directory} does not reach back to step {step}")

    def epoch(self) -> int:
        """Return the newest epoch there is, 0 where nothing is recorded."""
        return max((segment.epoch for segment in self.segments()), default=0)

    def begin(self, step: int, *, epoch: int) -> None:
        """Begin to record the steps after `step`, in an `epoch` of this writer's own."""
        self._epoch = epoch
        self.rotate(step)

    def rotate(self, step: int) -> None:
        """Go on in a new segment for the steps after `step`, once recording has begun.

        Where the disk refuses, steps are not recorded until the next segment begins: after a crash they are
        learnt anew from the stream, each event once, but not in the same micro-batches.
        """
        if not self._epoch:
            return
        self.close()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"{self._epoch:08d}-{step:012d}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o644)
        except OSError as error:
            self._failed(error)
            return
        self._write(Header(self._configuration))

    def append(self, entry: Entry) -> None:
        """Record `entry`, unless the disk refused something of this segment."""
        self._write(entry)

    def trim(self, step: int) -> None:
        """Remove the segments of which every step is at or before `step`."""
        segments = self.segments()
        for segment, following in pairwise(segments):
            if following.step > step:
                return
            segment.path.unlink(missing_ok=True)

    def end(self) -> None:
        """Stop recording until the next epoch begins."""
        self._epoch = 0
        self.close()

    def close(self) -> None:
        """Stop recording until the next segment begins."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, content: Header | Entry) -> None:
        """Write one line with one call, so that it is there whole or torn at the end."""
        if self._file is None:
            return
        payload = msgspec.json.encode(content)
        line = b"%08x %s\n" % (zlib.crc32(payload), payload)
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        log.error("steps are not recorded in %s until the next checkpoint: %s", self.directory, error.strerror)
        self.close()

    def _read(self, segment: Segment) -> Iterator[Entry]:
        try:
            *lines, torn = segment.path.read_bytes().split(b"\n")
        except FileNotFoundError:  # trimmed since it was listed
            return
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                if number > 1:
                    yield msgspec.json.decode(_checked(line), type=Entry)
                elif _header(line).configuration != self._configuration:
                    log.warning("%s was recorded under another configuration than this one", segment.path)
        except (ValueError, msgspec.MsgspecError):
            log.error("%s is damaged at line %d; what it records from there on is learnt anew", segment.path, number)
            return
        if torn:
            log.warning("%s ends in a torn line, which is cut", segment.path)


def _header(line: bytes) -> Header:
    return msgspec.json.decode(_checked(line), type=Header)


def _checked(line: bytes) -> bytes:
    """Return the content of `line`; ValueError where its checksum says that it is not what was written."""
    checksum, _, content = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(content):
        raise ValueError
    return content
