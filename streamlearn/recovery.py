"""Takes recorded steps again: after a crash, to make a published model anew, or under another configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from pydantic import ValidationError

from streamlearn.config import NOT_DECISIVE, READ_COMMITTED, WHOLE_SECTIONS, Config, Kafka
from streamlearn.consumer.admission import Admission
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.intake import MicroBatch
from streamlearn.consumer.queue import Arrival
from streamlearn.consumer.reread import Rereader
from streamlearn.errors import BrokerError, StateError
from streamlearn.events import Reason
from streamlearn.learner import Learner, StepReport
from streamlearn.publisher.checkpoints import CheckpointStore, step_of
from streamlearn.publisher.journal import Entry, Journal, Stretch
from streamlearn.sources.masking import is_secret

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reread:
    """A recorded step with its records; ``missing`` is how many of them Kafka no longer has."""

    entry: Entry
    arrivals: list[Arrival]
    missing: int

    @property
    def refused(self) -> list[tuple[Any, Reason]]:
        """The records that decoding refuses, with the reason."""
        return [
            (record, outcome)
            for arrival in self.arrivals
            for record, outcome in zip(arrival.records, arrival.outcomes, strict=True)
            if isinstance(outcome, Reason)
        ]

    def batch(self, admission: Admission) -> MicroBatch:
        """Return the micro-batch that the step consumes, as `admission` decides."""
        batch = MicroBatch()
        for wanted, arrival in zip(self.entry.ranges, self.arrivals, strict=True):
            if arrival.records:
                batch.take(arrival, admission)
            batch.positions[wanted.topic, wanted.partition] = wanted.end
        return batch


def reread(
    entries: Sequence[Entry], kafka: Kafka, decoder: Decoder, *, deleted: Literal["fail", "skip"] = "fail"
) -> Iterator[Reread]:
    """Read the records of each of `entries` again, in the order in which they were taken.

    Parameters
    ----------
    entries
        Recorded steps.
    kafka, decoder
        Where the records are, and what makes events of them.
    deleted
        What to do where Kafka no longer has all records of a step: ``fail``, or ``skip`` what is missing.

    Raises
    ------
    UnavailableError
        If Kafka does not answer.
    BrokerError
        If it refuses, or records are missing and `deleted` says to fail.

    """
    for isolation_level, group in groupby(entries, key=lambda entry: entry.isolation_level or READ_COMMITTED):
        client = kafka.client | {"isolation_level": isolation_level}
        yield from _reread(list(group), kafka.model_copy(update={"client": client}), decoder, deleted)


def _reread(
    entries: Sequence[Entry], kafka: Kafka, decoder: Decoder, deleted: Literal["fail", "skip"]
) -> Iterator[Reread]:
    """Read the records of each of `entries`, all of which were read as `kafka` says."""
    with closing(Rereader(kafka, decoder, (wanted for entry in entries for wanted in entry.ranges))) as reader:
        for entry in entries:
            for topic, recorded in entry.topics.items():
                if reader.topic_id(topic) not in (None, recorded):
                    raise BrokerError(f"topic '{topic}' was made anew since step {entry.step}: its records are gone")
            arrivals = [reader.read(wanted) for wanted in entry.ranges]
            missing = 0
            for wanted, arrival in zip(entry.ranges, arrivals, strict=True):
                lost = wanted.records - len(arrival.records)
                if not lost:
                    continue
                if lost < 0:
                    raise BrokerError(
                        f"Kafka has {-lost} records more than step {entry.step} took "
                        f"({wanted.topic}/{wanted.partition}, offsets {wanted.first} to {wanted.end}): "
                        "it was taken from another topic of this name"
                    )
                gap = (
                    f"Kafka no longer has {lost} of the records of step {entry.step} "
                    f"({wanted.topic}/{wanted.partition}, offsets {wanted.first} to {wanted.end})"
                )
                if deleted == "fail":
                    raise BrokerError(f"{gap}; set publisher.journal.deleted to 'skip' to go on without them")
                log.error("%s; the step is taken without them", gap)
                missing += lost
            yield Reread(entry, arrivals, missing)


def retake(learner: Learner, entries: Sequence[Entry], kafka: Kafka, decoder: Decoder) -> Iterator[StepReport]:
    """Let `learner`, in the state before the first of `entries`, take them again in their order and grouping.

    The errors are those of :func:`reread`, which fails where records are missing.
    """
    for step in reread(entries, kafka, decoder):
        yield learner.learn(step.batch(learner.admission))


def open_journal(config: Config) -> Journal:
    """Return the journal that `config` names."""
    return Journal(config.publisher.directory / "journal", configuration=config.decisive())


class Retracing:
    """A learner that takes recorded steps again, each under the configuration under which it was taken.

    Where that changes, another learner goes on from the state of the one before, as it was when it happened.

    Parameters
    ----------
    config
        Says where the record is, and counts where the record says nothing.

    """

    def __init__(self, config: Config) -> None:
        self._given = self._config = config
        self._journal = open_journal(config)
        self._learner: Learner | None = None

    @property
    def learner(self) -> Learner:
        """The one that has come so far; new where nothing has been taken or loaded yet."""
        self._learner = self._learner or Learner(self._config)
        return self._learner

    def approach(self, step: int, *, strictly: bool) -> list[Stretch]:
        """Load the newest checkpoint at or, `strictly`, before `step`, and return the steps from there to `step`.

        Raises
        ------
        StateError
            If the checkpoint cannot be used, or the journal does not lead from there to `step`.

        """
        publisher = self._given.publisher
        checkpoints = CheckpointStore(publisher.directory / "checkpoints", keep=publisher.checkpoints.keep)
        usable = [name for name in checkpoints.names() if step_of(name) < step + (not strictly)]
        begin = step_of(usable[-1]) if usable else 0
        stretches = self._journal.stretches(begin, to=step)
        if sum(len(stretch.entries) for stretch in stretches) < step - begin:
            raise StateError(
                f"the journal in {self._journal.directory} does not lead from step {begin} to step {step}; "
                "it reaches back as far as the oldest checkpoint (publisher.checkpoints.keep)"
            )
        for following in stretches[:1] or self._journal.stretches(begin, quiet=True)[:1]:
            self._config = recorded(self._given, following.configuration)
        if usable:
            self.learner.load(checkpoints.read(usable[-1]))
        return stretches

    def take(self, stretches: Iterable[Stretch]) -> Iterator[StepReport]:
        """Take `stretches` again; the errors are those of :func:`retake`."""
        for stretch in stretches:
            config = recorded(self._given, stretch.configuration)
            if config.decisive() != self._config.decisive():
                before, self._config, self._learner = self.learner, config, None
                if before.step:
                    self.learner.load(before.state())
            yield from retake(self.learner, stretch.entries, config.kafka, Decoder(config.events))


def recorded(config: Config, decisive: Mapping[str, Any]) -> Config:
    """Return `config` with the settings that the journal records as `decisive`; those that it does not name stay.

    Raises
    ------
    StateError
        If this version cannot use them.

    """
    try:
        return Config.model_validate(_overlaid(config.model_dump(), decisive))
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise StateError(f"the journal records a value of {key} that this version cannot use") from None


def _overlaid(tree: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tree` with the values of `above`, which names some sections whole but for secrets, others in part."""
    merged = dict(tree)
    for key, value in above.items():
        if key in WHOLE_SECTIONS:
            kept = {name: tree[key][name] for name in (NOT_DECISIVE,) if name in tree[key]}
            merged[key] = kept | value | _secrets(tree[key], value)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _overlaid(merged[key], value)
        else:
            merged[key] = value
    return merged


def _secrets(tree: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `tree` has beyond `below`, section by section, because it is secret and so is not recorded."""
    found: dict[str, Any] = {key: value for key, value in tree.items() if is_secret(key)}
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping):
            found[key] = {**below[key], **_secrets(value, below[key])}
    return found
