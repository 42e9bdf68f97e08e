"""The usual decision: which records a step consumes."""

from __future__ import annotations

from streamlearn.decisions.base import Decision


class Step(Decision, frozen=True, tag=False):
    """A step over the records of `ranges`, about which nothing else was decided.

    Its line names no kind, as lines did before there were kinds.
    """
