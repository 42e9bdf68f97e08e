"""Assembles micro-batches: as many fresh events as one step takes, and all that came between them."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from streamlearn.consumer.queue import ArrivalQueue
from streamlearn.events import Event, Outcome, Reason
from streamlearn.learner.admission import Admission, Draft
from streamlearn.records import Arrival, Positions, Range, Record


@dataclass
class MicroBatch:
    """What one step consumes.

    ``fresh`` are trained on and ``records`` are the Kafka records they came from; ``held_out`` never are, and
    ``held_out_records`` are theirs; ``refused`` are records that turned out unacceptable only now. ``draft`` is what
    admission remembers once it is learnt. ``positions`` are the next offsets to read once all of it has been dealt
    with, and ``ranges`` the runs of offsets in the order in which they were taken.
    ``reasons`` are those of the dead letters among the ``outcomes``, and
    ``bytes`` is what all records that went in take, whatever became of them.
    """

    fresh: list[Event] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    held_out: list[Event] = field(default_factory=list)
    held_out_records: list[Record] = field(default_factory=list)
    refused: list[tuple[Record, Reason]] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    positions: Positions = field(default_factory=dict)
    ranges: list[Range] = field(default_factory=list)
    draft: Draft | None = None
    bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.positions)

    def take(self, arrival: Arrival, admission: Admission, *, size: int | None = None) -> None:
        """Move in records of `arrival`, until it is empty or there are `size` fresh events."""
        self.draft = self.draft or admission.draft()
        admit, room = self.draft.admit, None if size is None else size - len(self.fresh)
        records, outcomes, first = arrival.records, arrival.outcomes, arrival.start
        fresh: list[Event] = []
        held_out: list[Event] = []
        dead_letters = duplicates = 0
        index = first - 1
        for index in range(first, len(outcomes)):
            event = outcomes[index]
            if not isinstance(event, Event):
                dead_letters += 1
                self.reasons[event] += 1
                continue
            outcome = admit(event)
            if outcome is Outcome.TRAINED:
                fresh.append(event)
                self.records.append(records[index])
                if len(fresh) == room:
                    break
            elif outcome is Outcome.HELD_OUT:
                held_out.append(event)
                self.held_out_records.append(records[index])
            elif isinstance(outcome, Reason):
                dead_letters += 1
                self.reasons[outcome] += 1
                self.refused.append((records[index], outcome))
            else:
                duplicates += 1
        self.fresh += fresh
        self.held_out += held_out
        self.outcomes += Counter(
            {
                Outcome.TRAINED: len(fresh),
                Outcome.HELD_OUT: len(held_out),
                Outcome.DEAD_LETTER: dead_letters,
                Outcome.DUPLICATE: duplicates,
            }
        )
        arrival.start = index + 1
        taken = arrival.bytes * (index + 1 - first) // max(1, len(records) - first)  # as if all took the same
        arrival.bytes -= taken
        self.bytes += taken
        end = arrival.end if arrival.start == len(records) else records[index].offset + 1
        begin = records[first].offset if records else arrival.begin
        self.positions[arrival.topic, arrival.partition] = end
        self.ranges.append(Range(arrival.topic, arrival.partition, begin, end, index + 1 - first))


class Intake:
    """Draws from the arrival queue until a micro-batch is full or has waited long enough.

    Parameters
    ----------
    queue
        Where the polling thread leaves its arrivals.
    admission
        Decides what becomes of each event.
    size
        Fresh events of a full micro-batch.
    max_wait
        Seconds after which a partial micro-batch goes, so that a slow topic still learns.
    most_bytes
        At which a partial micro-batch goes, too: what is refused or a duplicate must not gather without end.
    clock
        A monotonic clock in seconds.

    """

    def __init__(
        self,
        queue: ArrivalQueue,
        admission: Admission,
        *,
        size: int,
        max_wait: float,
        most_bytes: int = sys.maxsize,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._admission = admission
        self._size = size
        self._max_wait = max_wait
        self._most_bytes = most_bytes
        self._clock = clock

    def next(self, idle: float = 0.5, stopping: Callable[[], bool] = lambda: False) -> MicroBatch:
        """Return the next micro-batch; an empty one after `idle` seconds without any record."""
        batch = MicroBatch()
        deadline = self._clock() + idle
        while len(batch.fresh) < self._size and batch.bytes < self._most_bytes:
            remaining = deadline - self._clock()
            arrival = self._queue.get(max(0.0, min(remaining, idle))) if remaining > 0 else None
            if arrival is None:
                if remaining <= 0 or stopping():
                    break
                continue
            if not batch:
                deadline = self._clock() + self._max_wait
            batch.take(arrival, self._admission, size=self._size)
            if arrival.start < len(arrival.records):
                self._queue.put_back(arrival)
        return batch
