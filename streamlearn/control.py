"""What an operator has asked of a running learner: to pause, to resume, to write a checkpoint, to publish.

None of it reaches θ. Which records make up a step is journalled whenever the step is taken, and a pause only decides
when; checkpoints and snapshots are copies.
"""

from __future__ import annotations

import logging
import threading

log = logging.getLogger(__name__)

PAUSE, RESUME, CHECKPOINT, PUBLISH = "pause", "resume", "checkpoint", "publish"
WORDS = (PAUSE, RESUME, CHECKPOINT, PUBLISH)
"""All that can be asked for."""


class Control:
    """Handed by whoever listens to operators to the loop, which looks at it between two steps.

    Attributes
    ----------
    paused
        Whether no more steps are to be taken for now; for as long as this process runs.

    """

    def __init__(self) -> None:
        self.paused = False
        self._asked: set[str] = set()
        self._changed = threading.Condition()

    def ask(self, word: str) -> None:
        """Take one of :data:`WORDS` from an operator."""
        with self._changed:
            if word == PAUSE and not self.paused:
                log.warning("paused by an operator: no step is taken before 'streamlearn resume'")
            elif word == RESUME and self.paused:
                log.info("resumed by an operator")
            elif word in {CHECKPOINT, PUBLISH}:
                log.info("asked by an operator: %s", word)
                self._asked.add(word)
            self.paused = word == PAUSE or (self.paused and word != RESUME)
            self._changed.notify_all()

    def held(self, seconds: float) -> bool:
        """Return whether it is paused; then only after so many `seconds`, or after the next word."""
        with self._changed:
            if self.paused and not self._asked:
                self._changed.wait(seconds)
            return self.paused

    def take(self) -> set[str]:
        """Return what was asked for since the last time: a checkpoint, a publication, both or neither."""
        with self._changed:
            asked, self._asked = self._asked, set()
        return asked
