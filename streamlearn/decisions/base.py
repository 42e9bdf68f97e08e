"""What every decision says, whatever its kind."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from streamlearn.config import READ_COMMITTED
from streamlearn.records import Range, Topics


class Decision(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True, forbid_unknown_fields=True):
    """What makes up one step beside the state before it: one line of the journal.

    A kind of decision is a subclass with a ``tag`` of its own, fields for what was decided, and :meth:`apply`. Fields
    that are added to a kind later have defaults, so that the lines of before can still be read; a version that does not
    know them takes the decision for :class:`~streamlearn.decisions.Unknown`.

    Attributes
    ----------
    step
        The number of the step: one more than the learner has taken before.
    ranges
        The offsets of its records in the order in which they were taken; none where it consumes nothing.
    topics
        The ids of the topics in which they are, from the first line of the journal's segment.
    isolation_level
        How they were read where that was not as usual, from that line too unless it is said here.

    """

    step: int
    ranges: list[Range] = []
    topics: Topics = {}
    isolation_level: str | None = None

    def under(self, isolation_level: str | None) -> Self:
        """Return it as a segment records it whose first line says `isolation_level`: with its own where that differs.

        The ids of its topics are in the first line alone.
        """
        own, said = self.isolation_level or READ_COMMITTED, isolation_level or READ_COMMITTED
        return msgspec.structs.replace(self, topics={}, isolation_level=None if own == said else own)

    def apply(self, learner: Any) -> None:
        """Do to `learner`, a :class:`~streamlearn.learner.Learner`, what was decided, before it learns the records.

        What is done follows from the learner's state and the fields of this decision alone, since it is done again
        from the journal. It ends in the learner's state, and where θ moves, ``learner.proven`` is set to False.
        """
