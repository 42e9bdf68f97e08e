"""What decisions of every kind have in common."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from streamlearn.config import READ_COMMITTED
from streamlearn.records import Range, Topics


class Decision(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True, forbid_unknown_fields=True):
    """What determines one step, given the state before it: one line of the journal.

    A kind of decision is a subclass with a ``tag`` of its own, fields for what was decided, and :meth:`apply`. Fields
    added to a kind later have defaults, so that older lines can still be read; a version that does not know them reads
    the decision as :class:`~streamlearn.decisions.Unknown`.

    Attributes
    ----------
    step
        The number of the step: one more than the number of steps taken before.
    ranges
        The offsets of its records in the order in which they were taken; empty if it consumes nothing.
    topics
        The ids of the topics that hold them, from the first line of the journal's segment.
    isolation_level
        The isolation level with which they were read, if it was not the default; taken from that line, too, unless
        given here.

    """

    step: int
    ranges: list[Range] = []
    topics: Topics = {}
    isolation_level: str | None = None

    def under(self, isolation_level: str | None) -> Self:
        """Return it as recorded in a segment with this `isolation_level`: with its own level only if that differs.

        The ids of its topics are only in the first line.
        """
        own, said = self.isolation_level or READ_COMMITTED, isolation_level or READ_COMMITTED
        return msgspec.structs.replace(self, topics={}, isolation_level=None if own == said else own)

    def apply(self, learner: Any) -> None:
        """Apply the decision to `learner`, a :class:`~streamlearn.learner.Learner`, before it learns the records.

        The effect may depend only on the learner's state and the fields of this decision, because it is re-run from the
        journal. All of it must be part of the learner's state, and if θ changes, ``learner.proven`` must be set to
        False.
        """
