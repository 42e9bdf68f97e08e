"""A decision of a kind that streamlearn has not, as one to come may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from streamlearn.decisions import KINDS, Decision
from streamlearn.learner import Learner


class Forget(Decision, frozen=True, tag="forget"):
    """The last few events of the buffer are forgotten: `count` of them."""

    count: int = 1

    def apply(self, learner: Learner) -> None:
        learner.buffer.forget(learner.buffer.last(self.count))


@contextmanager
def known() -> Iterator[None]:
    """Let this version know the kind meanwhile."""
    with patch.dict(KINDS, {"forget": Forget}):
        yield
