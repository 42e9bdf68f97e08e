"""Re-runs recorded steps: after a crash, to rebuild a published model, or with another configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Literal

from streamlearn.config import READ_COMMITTED
from streamlearn.decisions import Decision, Seek
from streamlearn.errors import BrokerError
from streamlearn.events import Reason
from streamlearn.learner import Learner
from streamlearn.learner.draft import Draft
from streamlearn.records import Arrival, Record
from streamlearn.reports import MicroBatch, StepReport
from streamlearn.source import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reread:
    """A recorded decision with its records; ``missing`` is how many of them Kafka no longer has."""

    decision: Decision
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

    def batch(self, draft: Draft) -> MicroBatch:
        """Return the micro-batch that the step consumes, as `draft` decides."""
        for wanted, arrival in zip(self.decision.ranges, self.arrivals, strict=True):
            if arrival.records:
                draft.take(arrival)
            draft.batch.positions[wanted.topic, wanted.partition] = wanted.end
        return draft.batch


def reread(
    decisions: Sequence[Decision], source: Source, *, deleted: Literal["fail", "skip"] = "fail"
) -> Iterator[Reread]:
    """Read the records of each of `decisions` again, in the order in which they were taken.

    Parameters
    ----------
    decisions
        As recorded, in order, including those that took no records.
    source
        Where the records are read.
    deleted
        What to do if Kafka no longer has all records of a step: ``fail``, or ``skip`` what is missing.

    Raises
    ------
    UnavailableError
        If Kafka does not answer.
    BrokerError
        If it refuses, or records are missing and `deleted` says to fail.

    """
    moved = accumulate(isinstance(decision, Seek) for decision in decisions)
    for (_, isolation_level), group in groupby(
        zip(moved, decisions, strict=True), key=lambda pair: (pair[0], pair[1].isolation_level or READ_COMMITTED)
    ):  # after a seek offsets may go back, and the records in between must not be read
        yield from _reread([decision for _, decision in group], source, isolation_level, deleted)


def _reread(
    decisions: Sequence[Decision], source: Source, isolation_level: str, deleted: Literal["fail", "skip"]
) -> Iterator[Reread]:
    """Read the records of each of `decisions`, all of which were read with `isolation_level`."""
    ranges = [wanted for decision in decisions for wanted in decision.ranges]
    if not ranges:
        yield from (Reread(decision, [], 0) for decision in decisions)
        return
    with closing(source.reread(ranges, isolation_level=isolation_level)) as reader:
        for decision in decisions:
            for topic, recorded in decision.topics.items():
                if reader.topic_id(topic) not in (None, recorded):
                    raise BrokerError(
                        f"topic '{topic}' was created again since step {decision.step}: its records are gone"
                    )
            arrivals = [reader.read(wanted) for wanted in decision.ranges]
            missing = 0
            for wanted, arrival in zip(decision.ranges, arrivals, strict=True):
                lost = wanted.records - len(arrival.records)
                if not lost:
                    continue
                if lost < 0:
                    raise BrokerError(
                        f"Kafka has {-lost} records more than step {decision.step} took "
                        f"({wanted.topic}/{wanted.partition}, offsets {wanted.first} to {wanted.end}): "
                        "it was taken from another topic of this name"
                    )
                gap = (
                    f"Kafka no longer has {lost} of the records of step {decision.step} "
                    f"({wanted.topic}/{wanted.partition}, offsets {wanted.first} to {wanted.end})"
                )
                if deleted == "fail":
                    raise BrokerError(f"{gap}; set publisher.journal.deleted to 'skip' to continue without them")
                log.error("%s; the step is taken without them", gap)
                missing += lost
            yield Reread(decision, arrivals, missing)


def retake(learner: Learner, decisions: Sequence[Decision], source: Source) -> Iterator[StepReport]:
    """Re-run `decisions` on `learner`, which is in the state before the first of them, in the same order and grouping.

    The errors are those of :func:`reread`, which fails where records are missing.
    """
    for step in reread(decisions, source):
        yield learner.learn(step.decision, step.batch(learner.draft()))
