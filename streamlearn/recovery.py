"""Takes recorded steps again: after a crash, or to make a published model anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from streamlearn.config import Kafka
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.intake import MicroBatch
from streamlearn.consumer.reread import Rereader
from streamlearn.errors import BrokerError
from streamlearn.events import Reason
from streamlearn.learner import Learner, StepReport
from streamlearn.publisher.journal import Entry

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retaken:
    """A step that was taken again.

    ``refused`` are the records that decoding refuses; ``missing`` is how many records Kafka no longer has.
    """

    report: StepReport
    refused: list[tuple[Any, Reason]]
    missing: int


def retake(
    learner: Learner, entries: Sequence[Entry], kafka: Kafka, decoder: Decoder, *, deleted: Literal["fail", "skip"]
) -> Iterator[Retaken]:
    """Read the records of each of `entries` again and let `learner` learn them, in their order and grouping.

    Parameters
    ----------
    learner
        In the state before the first of `entries`.
    entries
        Recorded steps.
    kafka, decoder
        Where the records are, and what makes events of them.
    deleted
        What to do where Kafka no longer has all records of a step: ``fail``, or ``skip`` what is missing.

    Raises
    ------
    BrokerError
        If Kafka cannot be reached, or records are missing and `deleted` says to fail.

    """
    if not entries:
        return
    with closing(Rereader(kafka, decoder, (wanted for entry in entries for wanted in entry.ranges))) as reader:
        for entry in entries:
            batch, refused, missing = MicroBatch(), [], 0
            for wanted in entry.ranges:
                arrival = reader.read(wanted)
                if lost := wanted.records - len(arrival.records):
                    gap = (
                        f"Kafka no longer has {lost} of the records of step {entry.step} "
                        f"({wanted.topic}/{wanted.partition}, offsets {wanted.first} to {wanted.end})"
                    )
                    if deleted == "fail":
                        raise BrokerError(f"{gap}; set publisher.journal.deleted to 'skip' to go on without them")
                    log.error("%s; the step is taken without them", gap)
                    missing += lost
                if arrival.records:
                    batch.take(arrival, learner.admission)
                batch.positions[wanted.topic, wanted.partition] = wanted.end
                pairs = zip(arrival.records, arrival.outcomes, strict=True)
                refused += [(record, outcome) for record, outcome in pairs if isinstance(outcome, Reason)]
            yield Retaken(learner.learn(batch), refused, missing)
