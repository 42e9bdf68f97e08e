"""A topic's past as a data set: what it retains when a fine-tuning begins, read without joining the group.

The first and last offset of each partition are looked up once and stored with the unfinished state, and finally with
the model, so that the same command reads the same records again, however many have come since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.errors import ConfigurationError, StateError
from streamlearn.events import Event, Reason
from streamlearn.records import Positions, Range, Topics
from streamlearn.storage.files import make_directory, read_bytes
from streamlearn.storage.store import replace_file

AT_ONCE = 1000  # offsets of a partition that are read and decoded at once
MOST_BYTES = 2**24


class Past:
    """The contents of the topic of `config`.

    Parameters
    ----------
    config
        Names the topic and describes the events.
    kept
        What :meth:`kept` returned at the beginning; None to begin now.

    Raises
    ------
    BrokerError
        If Kafka cannot be asked, or the topic does not exist.
    ConfigurationError
        If it was begun on another topic, or some of its records have been deleted since.

    """

    def __init__(self, config: Config, kept: dict[str, Any] | None) -> None:
        self.name = f"the topic {config.kafka.topic}"
        self._config, self._source = config, make_source(config)
        self._source.require()
        topics = self._source.topics()
        if kept is None:
            self.topics: Topics = topics
            self.ranges = self._source.retained()
        else:
            self.topics = kept["topics"]
            self.ranges = msgspec.convert(kept["ranges"], list[Range])
            if topics != self.topics or any(wanted.topic != config.kafka.topic for wanted in self.ranges):
                raise ConfigurationError(
                    f"{self.name} is not the topic that this run was begun with; name another --output"
                )
            self._require_all(self._source.retained())

    def _require_all(self, retained: list[Range]) -> None:
        first = {wanted.partition: wanted.first for wanted in retained}
        gone = sum(max(0, min(first[w.partition], w.end) - w.first) for w in self.ranges if w.partition in first)
        if gone:
            raise ConfigurationError(
                f"{gone} offsets of {self.name} that this run was begun with have since been deleted by its retention; "
                "name another --output to begin again with those that are left"
            )

    @property
    def positions(self) -> Positions:
        """The end offset of each partition, at which a stream continues."""
        return {(wanted.topic, wanted.partition): wanted.end for wanted in self.ranges}

    def kept(self) -> dict[str, Any]:
        """Return which records these are, as JSON values."""
        return {"topics": self.topics, "ranges": msgspec.to_builtins(self.ranges)}

    def outcomes(self) -> Iterator[Event | Reason]:
        """Yield each record as an event or a reason, partition by partition.

        Raises
        ------
        BrokerError
            If it cannot be read.

        """
        pieces = [piece for whole in self.ranges for piece in _pieces(whole)]
        with closing(self._source.reread(pieces, isolation_level=self._config.kafka.isolation_level)) as recorded:
            for piece in pieces:
                yield from recorded.read(piece).outcomes


def _pieces(whole: Range) -> Iterator[Range]:
    for first in range(whole.first, whole.end, AT_ONCE):
        end = min(first + AT_ONCE, whole.end)
        yield Range(whole.topic, whole.partition, first, end, end - first)


def remember(path: Path, past: Past) -> None:
    """Write to the file `path` which records `past` consists of.

    Raises
    ------
    StateError
        If the disk refuses.

    """
    try:
        make_directory(path.parent, private=True)
        replace_file(path, json.dumps(past.kept()).encode())
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror or error}") from None


def remembered(path: Path) -> dict[str, Any] | None:
    """Return what :func:`remember` wrote to `path`, or None if there is no file.

    Raises
    ------
    StateError
        If it cannot be read.

    """
    try:
        kept: dict[str, Any] = json.loads(read_bytes(path, limit=MOST_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error}; remove {path.parent} to start over") from None
    return kept
