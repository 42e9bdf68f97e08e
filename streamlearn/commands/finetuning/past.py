"""A topic's past as a data set: what is retained of it when a fine-tuning begins, read outside the group.

Where a partition begins and ends is looked up once and kept with what is unfinished, and with the model in the end: so
the same command reads the same records again, however many have come since.
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

AT_ONCE = 1000  # offsets of a partition: what is read and decoded before it is passed on
MOST_BYTES = 2**24


class Past:
    """What the topic of `config` holds.

    Parameters
    ----------
    config
        Says which topic, and what an event is.
    kept
        What :meth:`kept` returned when this was begun; None where it begins now.

    Raises
    ------
    BrokerError
        If Kafka cannot be asked, or the topic does not exist.
    ConfigurationError
        If what was begun is another topic's, or has been deleted in part since.

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
        """The offset of each partition at which this ends, and a stream goes on."""
        return {(wanted.topic, wanted.partition): wanted.end for wanted in self.ranges}

    def kept(self) -> dict[str, Any]:
        """Return what says which records these are, as JSON has it."""
        return {"topics": self.topics, "ranges": msgspec.to_builtins(self.ranges)}

    def outcomes(self) -> Iterator[Event | Reason]:
        """Yield what each record is, partition after partition.

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
    """Write into the file `path` which records those of `past` are.

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
    """Return what :func:`remember` wrote into `path`, None where nothing is there.

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
