"""Whether an accepted event is learnt, held out or dropped as a duplicate.

Admission happens on the learning thread, in the order of learning, because what it remembers is part of the
learner's state: after a restart the same event gets the same answer. It moves with the step and not before, behind the
journal's line.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Collection, Iterable
from itertools import chain

from streamlearn.config import Events
from streamlearn.events import Event, Label, Outcome, Reason
from streamlearn.state import State

BUCKETS = 2**32


class Admission:
    """Remembers the last ids and the type and number of labels, and splits off the hold-out.

    The hold-out is chosen by a stable hash (CRC-32) of the text, not of the id: a text that is sent twice
    under two ids cannot be trained on and tested with.

    An event without an id of its own is never a duplicate: a topic that is made anew has the same offsets again.

    What a micro-batch adds is a :class:`Draft` until the micro-batch has been learnt, and what is refused in the end is
    not remembered: it may come again.

    Parameters
    ----------
    config
        ``duplicate_window`` ids are remembered; ``holdout_ratio`` of the texts are held out;
        in discovery at most ``max_labels`` labels are accepted.

    Attributes
    ----------
    ids, known
        The remembered ids, oldest first, and as a set.
    labels
        The labels met, in discovery.

    Examples
    --------
    >>> admission = Admission(Events(holdout_ratio=0.0))
    >>> event = Event("late again", "complaint", "a1", 0.0, "t", 0, 0)
    >>> draft = admission.draft()
    >>> draft.admit(event), draft.admit(event)
    (<Outcome.TRAINED: 'trained'>, <Outcome.DUPLICATE: 'duplicate'>)
    >>> admission.take_in(draft)
    >>> admission.draft().admit(event)
    <Outcome.DUPLICATE: 'duplicate'>

    """

    def __init__(self, config: Events) -> None:
        self.window = config.duplicate_window
        self.holdout_below = int(config.holdout_ratio * BUCKETS)
        self.max_labels = config.max_labels
        self.discovers = config.labels == "discover"
        self.ids: deque[str] = deque()
        self.known: set[str] = set()
        self.labels: dict[Label, None] = {}

    def draft(self) -> Draft:
        """Return what decides on the events of one micro-batch; it counts until the next :meth:`take_in`."""
        return Draft(self)

    def take_in(self, draft: Draft, *, accepted: Iterable[Event] = (), refused: Collection[Event] = ()) -> None:
        """Remember what `draft` has admitted.

        Parameters
        ----------
        draft
            The newest one.
        refused
            Those of its events that were refused after all: their ids are forgotten.
        accepted
            The others, asked for only where some were refused: labels of none of them are forgotten.

        """
        ids, labels = draft.ids, list(draft.labels)
        if refused:
            forgotten, met = {event.id for event in refused}, {event.label for event in accepted}
            ids = [identity for identity in ids if identity not in forgotten]
            labels = [label for label in labels if label in met]
        self.labels |= dict.fromkeys(labels)
        if not ids:
            return
        ids = ids[-self.window :]
        for _ in range(len(self.ids) + len(ids) - self.window):
            self.known.discard(self.ids.popleft())
        self.ids.extend(ids)
        self.known.update(ids)

    def state(self) -> State:
        """Return the remembered ids in their order, and the labels met."""
        return {"ids": list(self.ids), "labels": list(self.labels)}

    def load(self, state: State) -> None:
        """Continue with the ids and labels of `state`."""
        self.ids = deque(state["ids"][-self.window :] if self.window else ())
        self.known = set(self.ids)
        self.labels = dict.fromkeys(state["labels"])


class Draft:
    """Decides on the events of one micro-batch as if the admission had remembered them, which stays as it was.

    Parameters
    ----------
    admission
        What is remembered already.

    Attributes
    ----------
    ids, labels
        What is to be remembered, in the order in which it was met.

    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._known = admission.known
        self.ids: list[str] = []
        self.labels: dict[Label, None] = {}
        self._new: set[str] = set()
        self._gone: set[str] = set()  # those that would have left the window by now
        self._room = admission.window - len(admission.ids)
        self._oldest = chain(admission.ids, self.ids)

    def admit(self, event: Event) -> Outcome | Reason:
        """Return the outcome for `event`, or the reason to refuse it after all."""
        admission = self._admission
        undiscovered = admission.discovers and event.label not in admission.labels and event.label not in self.labels
        if undiscovered and (reason := self._objection(event.label)):
            return reason
        if admission.window and event.identified:
            identity = event.id
            if identity in self._new or (identity in self._known and identity not in self._gone):
                return Outcome.DUPLICATE
            self._new.add(identity)
            self.ids.append(identity)
            if len(self.ids) > self._room:
                oldest = next(self._oldest)
                if oldest in self._new:
                    self._new.discard(oldest)
                else:
                    self._gone.add(oldest)
        if undiscovered:
            self.labels[event.label] = None
        below = admission.holdout_below
        if below and zlib.crc32(event.text.encode(errors="surrogatepass")) < below:
            return Outcome.HELD_OUT
        return Outcome.TRAINED

    def _objection(self, label: Label) -> Reason | None:
        met = self._admission.labels or self.labels
        if met and type(label) is not type(next(iter(met))):
            return Reason.LABEL_TYPE
        if len(self._admission.labels) + len(self.labels) >= self._admission.max_labels:
            return Reason.TOO_MANY_LABELS
        return None
