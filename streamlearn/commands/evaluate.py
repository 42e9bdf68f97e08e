"""Runs the whole learner over a file, test-then-train, as if the lines had come from a topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

import msgspec

from streamlearn.commands.lines import lines
from streamlearn.commands.measures import Measures
from streamlearn.commands.tally import ExpertCourse, Tally
from streamlearn.config import Config
from streamlearn.consumer.decode import Decoder
from streamlearn.decisions import Step
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.events import NAME_LIMIT, Event, Reason
from streamlearn.learner import Learner
from streamlearn.records import Arrival, Record
from streamlearn.reports import MicroBatch

TOGETHER = 256  # lines decoded at once


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes
    ----------
    lines
        Lines of the file that are not blank.
    outcomes, reasons
        How many lines had each outcome, and the reasons of dead letters.
    seconds, events_per_second
        How long it took, without loading the model, and how many events were learnt per second.
    whole, parts
        How well events were predicted before they were learnt: all of them, and those of each part.
    hold_out
        The accuracy on both splits of the hold-out at the end, None for an empty split.
    experts
        The results of each expert of the mixture.

    """

    lines: int
    outcomes: dict[str, int]
    reasons: dict[str, int]
    seconds: float
    events_per_second: float
    whole: Measures
    parts: dict[str, Measures]
    hold_out: dict[str, float | None]
    experts: dict[str, ExpertCourse]


def evaluate(
    config: Config,
    file: BinaryIO,
    *,
    progress: Callable[[Tally], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Evaluation, Tally]:
    """Let a new learner predict and then learn each event of `file`; return the results, and the tally of each event.

    A line is like the value of a record, and becomes an event or is refused in the same way. It may name the ``part``
    of the stream that it belongs to, a string or an integer, which is then measured separately.

    Parameters
    ----------
    config
        The sections ``events``, ``buffer``, ``updater`` and ``monitor`` are read.
    file
        JSON objects, one a line.
    progress
        Called after each step with the tally so far.
    clock
        Monotonic seconds.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded or does not fit, or there are no labels.
    StreamlearnError
        If no event could be learnt, or θ diverged.
    OSError
        If the file cannot be read.

    """
    if not config.labelled:
        raise ConfigurationError(
            "evaluate says how often labels are predicted, and with updater.objective: language_model there are none; "
            "compare says what a recorded stretch of the topic costs a language model"
        )
    learner, tally = Learner(config), Tally()
    decoder = Decoder(config.events, labelled=config.labelled)
    begun = clock()
    for batch in _micro_batches(learner, _arrivals(file, decoder), config.updater.micro_batch):
        tally.add(learner.learn(Step(learner.step + 1, batch.ranges), batch))
        progress(tally)
    seconds = clock() - begun
    if not tally.whole.events:
        reasons = ", ".join(f"{count} {reason}" for reason, count in learner.reasons.most_common())
        raise StreamlearnError(
            f"none of the {tally.lines} lines is an event that could be learnt" + (f": {reasons}" if reasons else "")
        )
    evaluation = Evaluation(
        lines=tally.lines,
        outcomes=dict(learner.counts),
        reasons=dict(learner.reasons),
        seconds=seconds,
        events_per_second=tally.whole.events / seconds if seconds else 0.0,
        whole=tally.whole.measures(),
        parts={part: meter.measures() for part, meter in tally.parts.items()},
        hold_out={split: score.figure for split, score in learner.evaluate().items()},
        experts=tally.experts(),
    )
    return evaluation, tally


def _micro_batches(learner: Learner, arrivals: Iterable[Arrival], size: int) -> Iterator[MicroBatch]:
    """Yield the events of `arrivals` in micro-batches of `size`; each must be learnt before the next is requested."""
    draft = learner.draft()
    for arrival in arrivals:
        while arrival.start < len(arrival.records):
            draft.take(arrival, size=size)
            if len(draft.batch.fresh) == size:
                yield draft.batch
                draft = learner.draft()
    if draft.batch:
        yield draft.batch


def _arrivals(file: BinaryIO, decoder: Decoder) -> Iterator[Arrival]:
    """Yield the lines of `file` as records, each part as a topic of its own, with the events in them."""
    held: list[tuple[Record, Event | Reason]] = []
    for number, value in enumerate(lines(file), 1):
        part, fits = _part_of(value)
        record = Record(part, 0, number, None, None, value, [])
        outcome = decoder.decode(record)
        if isinstance(outcome, Event) and not fits:
            outcome = Reason.WRONG_TYPE
        if held and (part != held[0][0].topic or len(held) == TOGETHER):
            yield _arrival(held)
            held = []
        held.append((record, outcome))
    if held:
        yield _arrival(held)


def _arrival(held: list[tuple[Record, Event | Reason]]) -> Arrival:
    records, outcomes = map(list, zip(*held, strict=True))
    return Arrival(records[0].topic, 0, records, outcomes, records[0].offset, records[-1].offset + 1, 0)


class _Line(msgspec.Struct):
    part: Annotated[str, msgspec.Meta(max_length=NAME_LIMIT)] | int | None = None


_LINES = msgspec.json.Decoder(_Line)


def _part_of(value: bytes) -> tuple[str, bool]:
    """Return the name of the part that `value` belongs to, empty if it names none, and whether the name is valid."""
    try:
        part = _LINES.decode(value).part
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # the decoder of events reports it
        return "", False
    return "" if part is None else str(part), True
