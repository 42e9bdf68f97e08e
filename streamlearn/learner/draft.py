"""Assembles a micro-batch, deciding on each event as if admission already remembered the events before it."""

from __future__ import annotations

import zlib
from collections import Counter
from itertools import chain

from streamlearn.events import Event, Label, Outcome, Reason
from streamlearn.learner.admission import Admission
from streamlearn.records import Arrival, Range
from streamlearn.reports import MicroBatch


class Draft:
    """A micro-batch being assembled; admission does not change until the micro-batch has been learnt.

    Parameters
    ----------
    admission
        What is remembered already. It must not change before this draft is complete.

    Attributes
    ----------
    batch
        What has been taken in so far.

    Examples
    --------
    >>> from streamlearn.config import Events
    >>> admission = Admission(Events(holdout_ratio=0.0))
    >>> event = Event("late again", "complaint", "a1", 0.0, "t", 0, 0)
    >>> draft = Draft(admission)
    >>> draft.admit(event), draft.admit(event)
    (<Outcome.TRAINED: 'trained'>, <Outcome.DUPLICATE: 'duplicate'>)
    >>> admission.take_in(draft.batch)
    >>> Draft(admission).admit(event)
    <Outcome.DUPLICATE: 'duplicate'>

    """

    def __init__(self, admission: Admission) -> None:
        self.batch = MicroBatch()
        self._ids, self._labels = self.batch.ids, self.batch.labels
        self._admission = admission
        self._known = admission.known
        self._new: set[str] = set()
        self._gone: set[str] = set()  # ids that would have left the window by now
        self._room = admission.window - len(admission.ids)
        self._oldest = chain(admission.ids, self._ids)

    def take(self, arrival: Arrival, *, size: int | None = None) -> None:
        """Move in records of `arrival`, until it is empty or there are `size` fresh events."""
        batch, admit = self.batch, self.admit
        room = None if size is None else size - len(batch.fresh)
        records, outcomes, first = arrival.records, arrival.outcomes, arrival.start
        fresh: list[Event] = []
        held_out: list[Event] = []
        dead_letters = duplicates = 0
        index = first - 1
        for index in range(first, len(outcomes)):
            event = outcomes[index]
            if not isinstance(event, Event):
                dead_letters += 1
                batch.reasons[event] += 1
                continue
            outcome = admit(event)
            if outcome is Outcome.TRAINED:
                fresh.append(event)
                batch.records.append(records[index])
                if len(fresh) == room:
                    break
            elif outcome is Outcome.HELD_OUT:
                held_out.append(event)
                batch.held_out_records.append(records[index])
            elif isinstance(outcome, Reason):
                dead_letters += 1
                batch.reasons[outcome] += 1
                batch.refused.append((records[index], outcome))
            else:
                duplicates += 1
        batch.fresh += fresh
        batch.held_out += held_out
        batch.outcomes += Counter(
            {
                Outcome.TRAINED: len(fresh),
                Outcome.HELD_OUT: len(held_out),
                Outcome.DEAD_LETTER: dead_letters,
                Outcome.DUPLICATE: duplicates,
            }
        )
        arrival.start = index + 1
        taken = arrival.bytes * (index + 1 - first) // max(1, len(records) - first)  # as if all had the same size
        arrival.bytes -= taken
        batch.bytes += taken
        end = arrival.end if arrival.start == len(records) else records[index].offset + 1
        begin = records[first].offset if records else arrival.begin
        batch.positions[arrival.topic, arrival.partition] = end
        batch.ranges.append(Range(arrival.topic, arrival.partition, begin, end, index + 1 - first))

    def admit(self, event: Event) -> Outcome | Reason:
        """Return the outcome for `event`, or the reason to refuse it."""
        admission, ids, labels = self._admission, self._ids, self._labels
        undiscovered = admission.discovers and event.label not in admission.labels and event.label not in labels
        if undiscovered and (reason := self._objection(event.label)):
            return reason
        if admission.window and event.identified:
            identity = event.id
            if identity in self._new or (identity in self._known and identity not in self._gone):
                return Outcome.DUPLICATE
            self._new.add(identity)
            ids.append(identity)
            if len(ids) > self._room:
                oldest = next(self._oldest)
                if oldest in self._new:
                    self._new.discard(oldest)
                else:
                    self._gone.add(oldest)
        if undiscovered:
            labels[event.label] = None
        below = admission.holdout_below
        if below and zlib.crc32(event.text.encode(errors="surrogatepass")) < below:
            return Outcome.HELD_OUT
        return Outcome.TRAINED

    def _objection(self, label: Label) -> Reason | None:
        """Return why `label`, which is new, is refused, or None if it is accepted."""
        met = self._admission.labels or self._labels
        if met and type(label) is not type(next(iter(met))):
            return Reason.LABEL_TYPE
        if len(self._admission.labels) + len(self._labels) >= self._admission.max_labels:
            return Reason.TOO_MANY_LABELS
        return None
