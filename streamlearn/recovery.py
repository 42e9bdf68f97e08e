"""Takes recorded steps again: after a crash, to make a published model anew, or under another configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from streamlearn.checkpointing.journal import Entry
from streamlearn.config import READ_COMMITTED, Kafka
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.reread import Rereader
from streamlearn.errors import BrokerError
from streamlearn.events import Reason
from streamlearn.learner import Learner, StepReport
from streamlearn.learner.admission import Admission
from streamlearn.learner.intake import MicroBatch
from streamlearn.records import Arrival, Record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reread:
    """A recorded step with its records; ``missing`` is how many of them Kafka no longer has."""

    entry: Entry
    arrivals: list[Arrival]
    missing: int

    @property
    def refused(self) -> list[tuple[Record, Reason]]:
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
