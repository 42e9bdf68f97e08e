"""Which θ was offered for publication, and whether it was published, for the journal: see ``regularizers/lwf.py``."""

from __future__ import annotations

from collections.abc import Callable

from streamlearn.decisions import Step
from streamlearn.records import Range


class Offers:
    """Follows the newest offer until it is recorded that it was made, and that it was published.

    Parameters
    ----------
    newest
        Returns the newest version that is published.

    """

    def __init__(self, newest: Callable[[], int]) -> None:
        self._newest = newest
        self._step = self._version = -1
        self._recorded = self._published = False

    def made(self, step: int, version: int) -> None:
        """Take note that θ, as it is after `step`, is about to become `version`."""
        self._settle()
        self._step, self._version, self._recorded = step, version, False

    def next_step(self, step: int, ranges: list[Range], *, heeded: bool) -> Step:
        """Return the decision that follows `step`, over the records of `ranges`, with what is new if that is `heeded`.

        Each offer and each publication is recorded once. A publication is recorded only if its offer was: what is run
        again from the journal has to know of which θ.
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
