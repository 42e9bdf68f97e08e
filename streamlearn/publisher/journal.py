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
from streamlearn.events import Range, Topics
from streamlearn.publisher.files import make_directory, names_in, open_regular, refuse_other_than_directory
from streamlearn.publisher.store import discard

log = logging.getLogger(__name__)

NAME = re.compile(r"([0-9]{8})-([0-9]{12})\.jsonl")
LINE_BYTES = 16 * 2**20  # a step of a hundred thousand ranges; what has longer lines is no journal


class Header(msgspec.Struct, frozen=True):
    """The first line of a segment: the settings that decide θ, and the ids of the topics, of which its steps are."""

    configuration: dict[str, Any]
    topics: Topics = {}


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: its number, and the ranges of offsets in the order in which they were taken.

    ``topics`` are the ids of the topics in which they are; they stand in the first line of the segment.
    """

    step: int
    ranges: list[Range]
    topics: Topics = {}


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

    Attributes
    ----------
    topics
        The ids of the topics that are read, written into each segment that is begun.

    """

    def __init__(self, directory: Path, *, configuration: dict[str, Any]) -> None:
        self.directory = directory
        self.topics: Topics = {}
        self._configuration = configuration
        self._epoch = 0
        self._file: int | None = None

    def segments(self) -> list[Segment]:
        """Return the segments, by their names, in the order in which they were begun.

        Raises
        ------
        OSError
            If the directory cannot be listed.

        """
        matches = ((NAME.fullmatch(name), self.directory / name) for name in names_in(self.directory))
        return sorted(Segment(int(match[1]), int(match[2]), path) for match, path in matches if match)

    def _whole(self) -> list[Segment]:
        """Return the segments that begin as they were written; what else is there records nothing."""
        return [segment for segment in self.segments() if self._begins_well(segment)]

    def _begins_well(self, segment: Segment) -> bool:
        try:
            _header(next(_lines(segment.path), b""))
        except (FileNotFoundError, ValueError, RecursionError, StateError):
            return False
        return True

    def entries(self, after: int) -> list[Entry]:
        """Return the recorded steps that follow step `after` without a gap."""
        recorded: dict[int, Entry] = {}
        epoch = 0
        for segment in self.segments():
            if not self._begins_well(segment):
                log.error("%s is no segment of the journal, and is passed over", segment.path)
                continue
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
                    return _header(next(_lines(segment.path), b"")).configuration
                except (OSError, ValueError, RecursionError, StateError):
                    raise StateError(f"{segment.path} cannot be read: its first line is not what was written") from None
        raise StateError(f"the journal in {self.directory} does not reach back to step {step}")

    def epoch(self) -> int:
        """Return the newest epoch there is, 0 where nothing is recorded."""
        return max((segment.epoch for segment in self._whole()), default=0)

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
        path = self.directory / f"{self._epoch:08d}-{step:012d}.jsonl"
        try:
            if not NAME.fullmatch(path.name):
                raise StateError(f"the name of a segment cannot hold epoch {self._epoch} and step {step}")
            make_directory(self.directory, private=True)
            path.unlink(missing_ok=True)  # it holds nothing but its first line: the epoch is ours
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except (OSError, StateError) as error:
            self._failed(error)
            return
        self._write(Header(self._configuration, self.topics))

    def append(self, entry: Entry) -> None:
        """Record `entry`, unless the disk refused something of this segment."""
        self._write(entry)

    def trim(self, step: int) -> None:
        """Remove the segments of which every step is at or before `step`, and what of their time is no segment."""
        refuse_other_than_directory(self.directory)
        whole = [segment for segment in self._whole() if segment.epoch <= self._epoch]
        for segment, following in pairwise(whole):
            if following.step > step:
                break
            discard(segment.path)
        for segment in self.segments():
            if segment not in whole and segment.epoch < self._epoch and segment.step <= step:
                discard(segment.path)

    def end(self) -> None:
        """Stop recording until the next epoch begins."""
        self._epoch = 0
        self.close()

    def close(self) -> None:
        """Stop recording until the next segment begins."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            os.close(file)
        except OSError as error:  # a file system across a network says here what it could not write
            log.error("the end of a segment in %s may be lost: %s", self.directory, error.strerror)

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

    def _failed(self, error: OSError | StateError) -> None:
        reason = error.strerror if isinstance(error, OSError) else error
        log.error("steps are not recorded in %s until the next checkpoint: %s", self.directory, reason)
        self.close()

    def _read(self, segment: Segment) -> Iterator[Entry]:
        number, topics = 0, Topics()
        try:
            for number, line in enumerate(_lines(segment.path), 1):
                if len(line) < LINE_BYTES and not line.endswith(b"\n"):
                    log.warning("%s ends in a torn line, which is cut", segment.path)
                    return
                if number > 1:
                    entry = msgspec.json.decode(_checked(line), type=Entry)
                    yield msgspec.structs.replace(entry, topics=topics)
                    continue
                header = _header(line)
                topics = header.topics
                if header.configuration != self._configuration:
                    log.warning("%s was recorded under another configuration than this one", segment.path)
        except FileNotFoundError:  # trimmed since it was listed
            return
        except (ValueError, RecursionError):
            log.error("%s is damaged at line %d; what it records from there on is learnt anew", segment.path, number)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of `path` with their ends, read one by one, and no more than ``LINE_BYTES`` of one."""
    with open_regular(path) as file:
        while line := file.readline(LINE_BYTES):
            yield line


def _header(line: bytes) -> Header:
    return msgspec.json.decode(_checked(line), type=Header)


def _checked(line: bytes) -> bytes:
    """Return the content of `line`; ValueError where its checksum says that it is not what was written."""
    checksum, _, content = line.removesuffix(b"\n").partition(b" ")
    if int(checksum, 16) != zlib.crc32(content):
        raise ValueError
    return content
