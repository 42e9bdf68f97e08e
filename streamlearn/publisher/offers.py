"""Which θ was submitted for publication, and whether it was published, for the journal: see ``regularizers/lwf.py``."""

from __future__ import annotations

from collections.abc import Callable

from streamlearn.decisions import Step
from streamlearn.records import Range


class Offers:
    """Tracks the newest offer until the journal records that it was made and that it was published.

    Parameters
    ----------
    newest
        Returns the newest published version.

    """

    def __init__(self, newest: Callable[[], int]) -> None:
        self._newest = newest
        self._step = self._version = -1
        self._recorded = self._published = False

    def made(self, step: int, version: int) -> None:
        """Note that θ after `step` is to be published as `version`."""
        self._settle()
        self._step, self._version, self._recorded = step, version, False

    def next_step(self, step: int, ranges: list[Range], *, heeded: bool) -> Step:
        """Return the decision that follows `step`, over the records of `ranges`, with what is new if that is `heeded`.

        Each offer and each publication is recorded once. A publication is recorded only if its offer was, because a
        re-run from the journal must know which θ it refers to.
        """
        if not heeded:
            return Step(step + 1, ranges)
        self._settle()
        published, offered, self._published = self._published, step == self._step, False
        if offered:
            self._step, self._recorded = -1, True
        return Step(step + 1, ranges, published=published, offered=offered)

    def _settle(self) -> None:
        if self._recorded and self._newest() == self._version:
            self._recorded, self._published = False, True
