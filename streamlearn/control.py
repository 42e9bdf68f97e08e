"""What an operator has asked of a running learner: to pause, to resume, to write a checkpoint, to publish.

None of it reaches θ. Which records make up a step is journalled whenever the step is taken, and a pause only decides
when; checkpoints and snapshots are copies.
"""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import dataclass

log = logging.getLogger(__name__)

PAUSE, RESUME, CHECKPOINT, PUBLISH = "pause", "resume", "checkpoint", "publish"
WORDS = (PAUSE, RESUME, CHECKPOINT, PUBLISH)
"""All that can be asked for."""
MOST_TICKETS = 64  # of which the outcome is remembered


@dataclass(frozen=True)
class Kept:
    """What became of a copy of the learner.

    Attributes
    ----------
    step
        The step after which it was made.
    checkpoint
        Why it was not written; empty where it is.
    version
        The version that was to be published; None where none was.
    snapshot
        Why that is not published; empty where it is.

    """

    step: int
    checkpoint: str = ""
    version: int | None = None
    snapshot: str = ""


class Control:
    """Handed by whoever listens to operators to the loop, which looks at it between two steps.

    Attributes
    ----------
    paused
        Whether no more steps are to be taken for now: until the next takeover, or as long as this process runs.

    """

    def __init__(self) -> None:
        self.paused = False
        self._asked: dict[str, str] = {}  # the ticket of each word: whoever asks for the same has the same one
        self._taken: list[str] = []
        self._outcomes: dict[str, Kept | None] = {}
        self._words = self._seen = 0  # how many there were, and how many of them the loop has come round for
        self._changed = threading.Condition()

    def ask(self, word: str) -> str:
        """Take one of :data:`WORDS` from an operator.

        Returns
        -------
        str
            The ticket by which :meth:`outcome` knows what becomes of a checkpoint or a publication; empty where there
            is nothing to wait for.

        """
        ticket = ""
        with self._changed:
            self._words += 1
            if word == PAUSE and not self.paused:
                log.warning("paused by an operator: no step is taken before 'streamlearn resume'")
            elif word == RESUME and self.paused:
                log.info("resumed by an operator")
            elif word in {CHECKPOINT, PUBLISH}:
                log.info("asked by an operator: %s", word)
                ticket = self._asked.setdefault(word, secrets.token_hex(8))
                self._outcomes.setdefault(ticket, None)
                while len(self._outcomes) > MOST_TICKETS:  # the oldest, of which the outcome has long been known
                    del self._outcomes[next(iter(self._outcomes))]
            self.paused = word == PAUSE or (self.paused and word != RESUME)
            self._changed.notify_all()
        return ticket

    def take_over(self) -> None:
        """End a pause from before a takeover, and say so: nobody expects a standby that becomes active to be paused."""
        with self._changed:
            if self.paused:
                log.warning(
                    "the pause ends with this takeover: a learner that takes over, learns; "
                    "'streamlearn pause' pauses it again"
                )
            self.paused = False

    def held(self, seconds: float) -> bool:
        """Return whether it is paused; then only after so many `seconds`, or once there is a word that is new to it."""
        with self._changed:
            if self.paused:
                self._changed.wait_for(lambda: self._words != self._seen, seconds)
            self._seen = self._words
            return self.paused

    def take(self) -> set[str]:
        """Return what was asked for since the last time: a checkpoint, a publication, both or neither."""
        with self._changed:
            asked, self._asked = self._asked, {}
            self._taken += asked.values()
        return set(asked)

    def settle(self, kept: Kept) -> None:
        """Remember what became of the copy that was made for all that has been taken."""
        with self._changed:
            taken, self._taken = self._taken, []
            self._outcomes.update({ticket: kept for ticket in taken if ticket in self._outcomes})

    def outcome(self, ticket: str) -> Kept | None:
        """Return what became of what was asked for with `ticket`, None while it is not known.

        Raises
        ------
        KeyError
            If it is none, or one of long ago.

        """
        with self._changed:
            return self._outcomes[ticket]
