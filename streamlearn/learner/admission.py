"""Decides whether an accepted event is learnt, held out or dropped as a duplicate, and remembers what that takes.

Admission happens on the learning thread, in the order of learning, because what it remembers is part of the learner's
state: after a restart the same event gets the same answer. It changes with the step, never before the step is
journalled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from streamlearn.config import Events
from streamlearn.events import Event, Label
from streamlearn.reports import MicroBatch
from streamlearn.state import State

BUCKETS = 2**32


class Admission:
    """Remembers recent ids and the labels seen, and chooses which texts are held out.

    The hold-out is chosen by a stable hash (CRC-32) of the text, not of the id: a text that is sent twice
    under two ids cannot be trained on and tested with.

    An event without an id of its own is never a duplicate: a topic that is re-created reuses its offsets.

    What a micro-batch adds stays in its :class:`~streamlearn.learner.draft.Draft` until it has been learnt, and the ids
    of refused events are not remembered: they may be sent again.

    Parameters
    ----------
    config
        ``duplicate_window`` ids are remembered; ``holdout_ratio`` of the texts are held out; with ``labels: discover``
        at most ``max_labels`` labels are accepted.

    Attributes
    ----------
    ids, known
        The remembered ids, oldest first, and as a set.
    labels
        The labels seen so far, with ``labels: discover``.

    """

    def __init__(self, config: Events) -> None:
        self.window = config.duplicate_window
        self.holdout_below = int(config.holdout_ratio * BUCKETS)
        self.max_labels = config.max_labels
        self.discovers = config.labels == "discover"
        self.ids: deque[str] = deque()
        self.known: set[str] = set()
        self.labels: dict[Label, None] = {}

    def take_in(self, batch: MicroBatch, *, accepted: Iterable[Event] = (), refused: Collection[Event] = ()) -> None:
        """Remember what `batch` adds.

        Parameters
        ----------
        batch
            The micro-batch of the newest draft.
        refused
            Those of its events that the model refused: their ids are forgotten.
        accepted
            The other events, read only if some were refused: a label that none of them has is forgotten.

        """
        ids, labels = batch.ids, list(batch.labels)
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

    def forget(self) -> None:
        """Forget all ids, so that events seen before are accepted again."""
        self.ids.clear()
        self.known.clear()

    def state(self) -> State:
        """Return the remembered ids in their order, and the labels seen."""
        return {"ids": list(self.ids), "labels": list(self.labels)}

    def load(self, state: State) -> None:
        """Continue with the ids and labels of `state`."""
        self.ids = deque(state["ids"][-self.window :] if self.window else ())
        self.known = set(self.ids)
        self.labels = dict.fromkeys(state["labels"])
