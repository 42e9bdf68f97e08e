"""Whether an accepted event is learnt, held out or dropped as a duplicate.

Admission happens on the learning thread, in the order of learning, because what it remembers is part of the
learner's state: after a restart the same event gets the same answer.
"""

from __future__ import annotations

import zlib
from collections import deque
from enum import Enum

from streamlearn.config import Events
from streamlearn.events import Event, Label, Reason
from streamlearn.state import State

BUCKETS = 2**32


class Outcome(str, Enum):
    """What became of a record; the values label ``streamlearn_events_total``."""

    TRAINED = "trained"
    HELD_OUT = "held_out"
    DEAD_LETTER = "dead_letter"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"


class Admission:
    """Remembers the last ids and the type and number of labels, and splits off the hold-out.

    The hold-out is chosen by a stable hash (CRC-32) of the text, not of the id: a text that is sent twice
    under two ids cannot be trained on and tested with.

    An event without an id of its own is never a duplicate: a topic that is made anew has the same offsets again.

    Parameters
    ----------
    config
        ``duplicate_window`` ids are remembered; ``holdout_ratio`` of the texts are held out;
        in discovery at most ``max_labels`` labels are accepted.

    Examples
    --------
    >>> admission = Admission(Events(holdout_ratio=0.0))
    >>> event = Event("late again", "complaint", "a1", 0.0, "t", 0, 0)
    >>> admission.admit(event), admission.admit(event)
    (<Outcome.TRAINED: 'trained'>, <Outcome.DUPLICATE: 'duplicate'>)

    """

    def __init__(self, config: Events) -> None:
        self._window = config.duplicate_window
        self._holdout_below = int(config.holdout_ratio * BUCKETS)
        self._max_labels = config.max_labels
        self._discover = config.labels == "discover"
        self._ids: deque[str] = deque()
        self._known: set[str] = set()
        self._labels: dict[Label, None] = {}

    def admit(self, event: Event) -> Outcome | Reason:
        """Return the outcome for `event`, or the reason to refuse it after all; remember that it was seen."""
        if self._discover and event.label not in self._labels:
            reason = self._discovered(event.label)
            if reason:
                return reason
        if self._window and event.identified:
            if event.id in self._known:
                return Outcome.DUPLICATE
            self._known.add(event.id)
            self._ids.append(event.id)
            if len(self._ids) > self._window:
                self._known.discard(self._ids.popleft())
        if self._holdout_below and zlib.crc32(event.text.encode()) < self._holdout_below:
            return Outcome.HELD_OUT
        return Outcome.TRAINED

    def _discovered(self, label: Label) -> Reason | None:
        if self._labels and type(label) is not type(next(iter(self._labels))):
            return Reason.LABEL_TYPE
        if len(self._labels) >= self._max_labels:
            return Reason.TOO_MANY_LABELS
        self._labels[label] = None
        return None

    def state(self) -> State:
        """Return the remembered ids in their order, and the labels met."""
        return {"ids": list(self._ids), "labels": list(self._labels)}

    def load(self, state: State) -> None:
        """Continue with the ids and labels of `state`."""
        self._ids = deque(state["ids"])
        self._known = set(self._ids)
        self._labels = dict.fromkeys(state["labels"])
