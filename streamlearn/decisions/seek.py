"""An operator's decision: the learner goes on from other positions, with the state that it has."""

from __future__ import annotations

from typing import Any

import msgspec

from streamlearn.decisions.base import Decision
from streamlearn.events import Outcome


class Seek(Decision, frozen=True, tag="seek"):
    """A step without records, after which reading goes on at `positions`.

    Where one of them lies behind what has been read, the ids that are remembered are forgotten: the events that come
    again are to be learnt again, and not to be dropped as duplicates.

    Attributes
    ----------
    positions
        The next offset to read of each partition that is moved: topic, partition, offset.
    skipped
        How many offsets that passes over: they are counted, and never learnt.

    """

    positions: list[tuple[str, int, int]] = msgspec.field(default_factory=list)
    skipped: int = 0

    def apply(self, learner: Any) -> None:
        """Move the positions of `learner`; θ and all that it remembers of events stay, but for their ids."""
        targets = {(topic, partition): offset for topic, partition, offset in self.positions}
        if any(offset < learner.positions.get(key, offset) for key, offset in targets.items()):
            learner.admission.forget()
        learner.positions.update(targets)
        if self.skipped:
            learner.counts[Outcome.SKIPPED.value] += self.skipped
