"""The checks of ``streamlearn check``, made before anything is started."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.checkpointing.fence import source_of
from streamlearn.checkpointing.inspection import inspect
from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.consumer.dead_letter_topic import look_at_dead_letter_topic
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError, UnavailableError
from streamlearn.learner import Learner
from streamlearn.monitor.connections import connections_allowed
from streamlearn.source import Sampled
from streamlearn.state import State
from streamlearn.takeover import load_checkpoint

UNANSWERED = "not looked at, because Kafka does not answer"


@dataclass(frozen=True)
class Finding:
    """The result of one check: its name, what was found, and the error if it failed.

    ``looked`` is False if the check was impossible because of an error in an earlier finding; ``records`` are the
    sampled records.
    """

    subject: str
    found: str
    error: StreamlearnError | None = None
    looked: bool = True
    records: tuple[Sampled, ...] = ()

    @property
    def ok(self) -> bool | None:
        """Whether it passed; None if unknown."""
        return self.error is None if self.looked else None


@dataclass(frozen=True)
class Look:
    """A check: a function that returns what it found in one sentence, or raises the error that says what to do.

    Checks that need Kafka are marked ``kafka``: if no broker answers the first, the others do not wait for one again.
    """

    subject: str
    at: Callable[[Config], str]
    kafka: bool = False


def looks() -> list[Look]:
    """Return the checks in order; a new one is one line."""
    return [
        Look("broker and topic", _topic, kafka=True),
        Look("dead-letter topic", _dead_letter_topic, kafka=True),
        Look("model", _model),
        Look("directory", _directory),
        Look("open files", _open_files),
    ]


def check(config: Config, *, sample: int = 0) -> Iterator[Finding]:
    """Yield a finding for each of :func:`looks` as it is made, and one about the newest `sample` records."""
    answers = True
    for look in looks():
        if look.kafka and not answers:
            yield Finding(look.subject, UNANSWERED, looked=False)
            continue
        try:
            yield Finding(look.subject, look.at(config))
        except StreamlearnError as error:
            answers = answers and not isinstance(error, UnavailableError)
            yield Finding(look.subject, str(error), error)
    if sample:
        yield _sample(config, sample) if answers else Finding("sample", UNANSWERED, looked=False)


def _sample(config: Config, count: int) -> Finding:
    """Return what would happen to the newest records; failed if none of them is a valid event."""
    try:
        records = make_source(config).sample(count)
    except StreamlearnError as error:
        return Finding("sample", str(error), error)
    refused = Counter(
        record.reason.value + (f" ({record.detail})" * bool(record.detail)) for record in records if record.reason
    )
    events = len(records) - refused.total()
    reasons = ", ".join(f"{number} {reason}" for reason, number in refused.most_common())
    found = f"{events} of the newest {len(records)} records are events" + (f", refused {reasons}" if reasons else "")
    if events or not records:
        return Finding("sample", found if records else "the topic holds no record yet", records=tuple(records))
    found += "; events.format and events.fields say what a value looks like and where its fields stand"
    return Finding("sample", found, ConfigurationError(found), records=tuple(records))


def _topic(config: Config) -> str:
    return make_source(config).describe()


def _dead_letter_topic(config: Config) -> str:
    return look_at_dead_letter_topic(config.kafka)


def _model(config: Config) -> str:
    learner = Learner(config)
    described = learner.objective.describe()
    warm = learner.updater.warm_from
    begins = "" if warm is None else f"; a new state begins with its mixture as of step {warm}"
    for name, state in _checkpoints(config):
        if not isinstance(state, StateError):
            load_checkpoint(learner, name, state)
            break
    return (
        f"{config.updater.model} loads and takes a step on texts of up to {config.updater.max_tokens} tokens; "
        f"{described}{begins}"
    )


def _checkpoints(config: Config) -> Iterator[tuple[str, State | StateError]]:
    """Yield the checkpoints that a start would try; damaged files are reported by the check of the directory."""
    with suppress(OSError, StateError):
        yield from CheckpointStore(config.publisher.directory / "checkpoints", keep=1).newest()


def _directory(config: Config) -> str:
    directory = config.publisher.directory
    state = inspect(directory, source=source_of(config.kafka.group, config.kafka.topic))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            free = os.statvfs(directory)
            file.write(bytes(2**20))  # an empty file fits even on a full disk
            file.flush()
    except OSError as error:
        raise StateError(f"publisher.directory {directory} cannot be written: {error.strerror}") from None
    return f"{directory} can be written; {state}; {free.f_bavail * free.f_frsize / 2**30:.1f} GiB free"


def _open_files(_: Config) -> str:
    return f"their limit leaves room for {connections_allowed()} connections to monitor.port at a time"
