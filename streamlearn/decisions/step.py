"""The usual decision: which records a step consumes."""

from __future__ import annotations

from typing import Any

from streamlearn.decisions.base import Decision


class Step(Decision, frozen=True, tag=False):
    """A step over the records of `ranges`, with nothing else decided.

    Its line has no kind, like lines from before there were kinds.

    Attributes
    ----------
    published
        Whether the θ that was offered last has been published since the step before.
    offered
        Whether θ as it is before this step has been handed to the publisher. Both are recorded only where the
        regulariser heeds them.

    """

    published: bool = False
    offered: bool = False

    @property
    def plain(self) -> bool:
        """Whether it says nothing but which records the step takes."""
        return not (self.published or self.offered)

    def apply(self, learner: Any) -> None:
        """Tell the regulariser, if there is one, what was published and then what was offered."""
        regularizer = learner.objective.regularizer
        if regularizer and self.published:
            regularizer.published()
        if regularizer and self.offered:
            regularizer.offered()
