"""Steps on events that come from no topic, for the library and for fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from streamlearn.decisions import Step
from streamlearn.events import Event
from streamlearn.learner.learner import Learner
from streamlearn.records import Arrival, Record
from streamlearn.reports import StepReport

NOWHERE = ("memory", 0)
"""The partition that such events are taken to come from."""


def take_step(learner: Learner, events: Sequence[Event]) -> StepReport:
    """Let `learner` take one step on `events`, at least one, which follow all that it has seen.

    It raises what :meth:`~streamlearn.learner.learner.Learner.learn` raises.
    """
    records = [Record(*NOWHERE, event.offset, None, None, None, []) for event in events]
    begin = learner.positions.get(NOWHERE, 0)
    draft = learner.draft()
    draft.take(Arrival(*NOWHERE, records, list(events), begin, begin + len(events), 0))
    return learner.learn(Step(learner.step + 1, draft.batch.ranges), draft.batch)
