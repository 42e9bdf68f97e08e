"""The journal: the ordered record of the decisions that make up each step.

A step is a pure function of the state before it, its decision and the records at the offsets in that decision. So the
same weights can be rebuilt, bit for bit, from a checkpoint, the journal after it and the Kafka log.

Each decision is one line, appended before the step is taken, with a checksum in front: a line that was cut off by a
crash or altered on disk is recognised, and the journal ends before it. Lines are not synced, because a killed process
loses nothing that it has written; what is lost in a power failure is learnt from the stream again.

A segment is a file of lines named by the epoch of its writer and the step after which it begins. Each learner that
becomes active begins a new epoch; each checkpoint begins a new segment, so that those older than the oldest checkpoint
can be removed. The start of an epoch voids what earlier ones recorded for later steps: that is not part of the
surviving state.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from logging import DEBUG, ERROR, WARNING
from pathlib import Path
from typing import Any

import msgspec

from streamlearn.checkpointing.lines import LINE_BYTES, Header, as_header, as_line, checked, lines
from streamlearn.decisions import Decision, Unknown, decode
from streamlearn.errors import StateError
from streamlearn.records import Topics
from streamlearn.storage.files import make_directory, names_in, refuse_other_than_directory
from streamlearn.storage.store import TEMPORARY, discard, sync_file

log = logging.getLogger(__name__)

NAME = re.compile(r"([0-9]{8})-([0-9]{12})\.jsonl")


class Stretch(msgspec.Struct, frozen=True):
    """Consecutive recorded decisions that were taken with the same configuration."""

    configuration: dict[str, Any]
    decisions: list[Decision]


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
        The directory of the segments; created with the first.
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
        self._said_other = False

    def segments(self) -> list[Segment]:
        """Return the segments, by their names, in the order in which they were begun.

        Raises
        ------
        OSError
            If the directory cannot be listed.

        """
        matches = ((NAME.fullmatch(name), self.directory / name) for name in names_in(self.directory))
        return sorted(Segment(int(match[1]), int(match[2]), path) for match, path in matches if match)

    def whole(self) -> list[Segment]:
        """Return the segments with an intact first line; other files record nothing."""
        return [segment for segment in self.segments() if self._first_line(segment)]

    def sync(self) -> None:
        """Sync all that is recorded to disk, so that it survives a power failure; OSError if the disk refuses."""
        for segment in self.whole():
            sync_file(segment.path)

    def _first_line(self, segment: Segment) -> Header | None:
        """Return the first line of `segment`, or None if it is damaged."""
        try:
            return as_header(next(lines(segment.path), b""))
        except (FileNotFoundError, ValueError, RecursionError, StateError):
            return None

    def decisions(self, after: int) -> list[Decision]:
        """Return the decisions recorded after step `after` without a gap, to continue from there.

        What cannot be read is logged; from there on the stream is learnt again.
        """
        found: list[Decision] = []
        others: list[int] = []
        for decision, configuration in self._following(after):
            if isinstance(decision, Unknown):
                log.error("%s; what is recorded from there on is learnt again", self._not_known(decision))
                break
            found.append(decision)
            if configuration != self._configuration:
                others.append(decision.step)
        if others and not self._said_other:
            said = "journal steps %d–%d were recorded under another configuration than this one"
            log.warning(said, others[0], others[-1])
            self._said_other = True
        return found

    def stretches(self, after: int, *, to: int | None = None, quiet: bool = False) -> list[Stretch]:
        """Return the decisions after step `after`, up to step `to`, split where the configuration changed.

        What cannot be read is logged, unless `quiet`.

        Raises
        ------
        StateError
            If a newer streamlearn has recorded one of them, of a kind that this version does not know.

        """
        found: list[Stretch] = []
        for decision, configuration in self._following(after, to=to, quiet=quiet):
            if isinstance(decision, Unknown):
                raise StateError(self._not_known(decision))
            if not found or found[-1].configuration != configuration:
                found.append(Stretch(configuration, []))
            found[-1].decisions.append(decision)
        return found

    def _following(
        self, after: int, *, to: int | None = None, quiet: bool = False
    ) -> Iterator[tuple[Decision | Unknown, dict[str, Any]]]:
        """Yield the record of each step after `after`, up to `to` or a gap, and its configuration."""
        recorded: dict[int, tuple[Decision | Unknown, dict[str, Any]]] = {}
        epoch = 0
        for segment in self._from(after):
            if to is not None and segment.step >= to:
                continue
            header = self._first_line(segment)
            if header is None:
                log.log(DEBUG if quiet else ERROR, "ignoring %s: it is not a segment of the journal", segment.path)
                continue
            if segment.epoch != epoch:
                epoch = segment.epoch
                recorded = {step: decided for step, decided in recorded.items() if step <= segment.step}
            decisions = self._read(segment, quiet=quiet)
            recorded |= {decision.step: (decision, header.configuration) for decision in decisions}
        step = after + 1
        while step in recorded and (to is None or step <= to):
            yield recorded[step]
            step += 1

    def reaches(self, after: int) -> int:
        """Return the last step recorded after `after` without a gap; `after` if there is none.

        Raises
        ------
        StateError
            If a newer streamlearn has recorded one of them, of a kind that this version does not know.

        """
        end, epoch = after, 0
        for segment in filter(self._first_line, self._from(after)):
            if segment.epoch != epoch:
                epoch, end = segment.epoch, max(after, min(end, segment.step))
            for decision in self._read(segment, quiet=True):
                if isinstance(decision, Unknown):
                    raise StateError(self._not_known(decision))
                end += decision.step == end + 1
        return end

    def _from(self, step: int) -> list[Segment]:
        """Return the segments without the leading ones that have no valid step after `step`.

        A segment has none if an intact one that begins at or before `step` follows it: in the same epoch its steps end
        there at the latest, and in an earlier epoch its later steps are void.
        """
        segments = self.segments()
        for index in reversed(range(len(segments))):
            if segments[index].step <= step and self._first_line(segments[index]):
                return segments[index:]
        return segments

    def _not_known(self, decision: Unknown) -> str:
        return (
            f"the journal in {self.directory} records step {decision.step} as a '{decision.kind}', "
            "which a newer streamlearn has written and this one does not know"
        )

    def configuration(self, step: int) -> dict[str, Any]:
        """Return the settings with which the step after `step` was taken.

        Raises
        ------
        StateError
            If it is not recorded.

        """
        for segment in reversed(self.segments()):
            if segment.step <= step:
                try:
                    return as_header(next(lines(segment.path), b"")).configuration
                except (OSError, ValueError, RecursionError, StateError):
                    raise StateError(f"{segment.path} cannot be read: its first line is not what was written") from None
        raise StateError(f"the journal in {self.directory} does not reach back to step {step}")

    def epoch(self) -> int:
        """Return the newest epoch, 0 if nothing is recorded."""
        return max((segment.epoch for segment in self.whole()), default=0)

    def begin(self, step: int, *, epoch: int, since: int | None = None) -> None:
        """Begin to record the steps after `step` in a new `epoch`.

        The steps after `since` have just been re-run. If they were recorded with another configuration than the one
        that they were re-run with, they are recorded once more.
        """
        self._epoch, self._said_other = epoch, False
        again = [] if since is None else self.stretches(since, to=step, quiet=True)
        if any(stretch.configuration != self._configuration for stretch in again):
            self._record_again([decision for stretch in again for decision in stretch.decisions])
        self.rotate(step)

    def _record_again(self, decisions: list[Decision]) -> None:
        """Write a segment of `decisions` to a temporary name, then rename it, so that it is complete or absent."""
        path, temporary = self.path(decisions[0].step - 1), self.directory / f"{TEMPORARY}again"
        try:
            make_directory(self.directory, private=True)
            temporary.unlink(missing_ok=True)
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "wb") as content:
                content.write(as_line(header := Header(self._configuration, self.topics)))
                content.writelines(as_line(decision.under(header.isolation_level)) for decision in decisions)
            temporary.rename(path)
        except OSError as error:
            self._failed(error)

    def path(self, step: int) -> Path:
        """Return the path of the segment for the steps after `step` in the current epoch."""
        return self.directory / f"{self._epoch:08d}-{step:012d}.jsonl"

    def rotate(self, step: int) -> None:
        """Continue in a new segment for the steps after `step`, if recording has begun.

        If the disk refuses, steps are not recorded until the next segment begins: after a crash they are learnt from
        the stream again, each event once, but not in the same micro-batches.
        """
        if not self._epoch:
            return
        self.close()
        path = self.path(step)
        try:
            if not NAME.fullmatch(path.name):
                raise StateError(f"the name of a segment cannot hold epoch {self._epoch} and step {step}")
            make_directory(self.directory, private=True)
            path.unlink(missing_ok=True)  # it has only its first line: the epoch is ours
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except (OSError, StateError) as error:
            self._failed(error)
            return
        self._write(Header(self._configuration, self.topics))

    def append(self, decision: Decision) -> None:
        """Record `decision`, unless the disk has refused a write to this segment."""
        self._write(decision)

    def trim(self, step: int) -> None:
        """Remove the segments that end at or before `step`, and other files as old as these."""
        refuse_other_than_directory(self.directory)
        segments = [segment for segment in self.segments() if segment.epoch <= self._epoch]
        for segment, following in pairwise(filter(self._first_line, segments)):
            if following.step > step:
                break
            discard(segment.path)
        for segment in self.segments():
            if segment.epoch < self._epoch and segment.step <= step and not self._first_line(segment):
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
        except OSError as error:  # a network file system may report failed writes only here
            log.error("the end of a segment in %s may be lost: %s", self.directory, error.strerror)

    def _write(self, content: Header | Decision) -> None:
        """Write one line with one call, so that it is complete or cut off at the end."""
        if self._file is None:
            return
        line = as_line(content)
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError | StateError) -> None:
        reason = error.strerror if isinstance(error, OSError) else error
        log.error("steps are not recorded in %s until the next checkpoint: %s", self.directory, reason)
        self.close()

    def _read(self, segment: Segment, *, quiet: bool) -> Iterator[Decision | Unknown]:
        number, topics, isolation_level = 0, Topics(), None
        try:
            for number, line in enumerate(lines(segment.path), 1):
                if len(line) < LINE_BYTES and not line.endswith(b"\n"):
                    log.log(DEBUG if quiet else WARNING, "%s ends in a torn line, which is cut", segment.path)
                    return
                if number > 1:
                    decision = decode(checked(line))
                    if isinstance(decision, Decision):
                        level = decision.isolation_level or isolation_level
                        decision = msgspec.structs.replace(decision, topics=topics, isolation_level=level)
                    yield decision
                    continue
                header = as_header(line)
                topics, isolation_level = header.topics, header.isolation_level
        except FileNotFoundError:  # trimmed since it was listed
            return
        except (ValueError, RecursionError):
            said = "%s is damaged at line %d; what it records from there on is learnt again"
            log.log(DEBUG if quiet else ERROR, said, segment.path, number)
