"""An operator's requests to a running learner: pause, resume, write a checkpoint, publish.

None of them changes θ. The records of each step are journalled, and a pause only delays the step; checkpoints and
snapshots are copies.
"""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import dataclass

log = logging.getLogger(__name__)

PAUSE, RESUME, CHECKPOINT, PUBLISH = "pause", "resume", "checkpoint", "publish"
WORDS = (PAUSE, RESUME, CHECKPOINT, PUBLISH)
"""All possible requests."""
MOST_TICKETS = 64  # whose outcome is remembered


@dataclass(frozen=True)
class Kept:
    """The outcome of copying the learner for a checkpoint or a snapshot.

    Attributes
    ----------
    step
        The step after which the copy was made.
    checkpoint
        Why the checkpoint was not written; empty if it was.
    version
        The version to be published, or None.
    snapshot
        Why it was not published; empty if it was.

    """

    step: int
    checkpoint: str = ""
    version: int | None = None
    snapshot: str = ""


class Control:
    """Carries requests from the server that receives them to the loop, which checks for them between two steps.

    Attributes
    ----------
    paused
        Whether learning is paused: until it is resumed, the next takeover, or the end of this process.

    """

    def __init__(self) -> None:
        self.paused = False
        self._asked: dict[str, str] = {}  # the ticket of each pending word; equal requests share one
        self._taken: list[str] = []
        self._outcomes: dict[str, Kept | None] = {}
        self._words = self._seen = 0  # how many words were received, and how many of them the loop has seen
        self._changed = threading.Condition()

    def ask(self, word: str) -> str:
        """Take one of :data:`WORDS` from an operator.

        Returns
        -------
        str
            The ticket to pass to :meth:`outcome` for a checkpoint or a publication; empty if there is nothing to wait
            for.

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
                while len(self._outcomes) > MOST_TICKETS:  # the oldest, whose outcome has long been known
                    del self._outcomes[next(iter(self._outcomes))]
            self.paused = word == PAUSE or (self.paused and word != RESUME)
            self._changed.notify_all()
        return ticket

    def take_over(self) -> None:
        """End a pause from before a takeover, and log it: nobody expects a standby that becomes active to be paused."""
        with self._changed:
            if self.paused:
                log.warning(
                    "the pause ends with this takeover: a learner that takes over, learns; "
                    "'streamlearn pause' pauses it again"
                )
            self.paused = False

    def held(self, seconds: float) -> bool:
        """Return whether learning is paused; if so, only after `seconds`, or earlier when a new request comes in."""
        with self._changed:
            if self.paused:
                self._changed.wait_for(lambda: self._words != self._seen, seconds)
            self._seen = self._words
            return self.paused

    def take(self) -> set[str]:
        """Return what was requested since the last call: a checkpoint, a publication, both or neither."""
        with self._changed:
            asked, self._asked = self._asked, {}
            self._taken += asked.values()
        return set(asked)

    def settle(self, kept: Kept) -> None:
        """Remember the outcome of the copy that was made for all requests taken."""
        with self._changed:
            taken, self._taken = self._taken, []
            self._outcomes.update({ticket: kept for ticket in taken if ticket in self._outcomes})

    def outcome(self, ticket: str) -> Kept | None:
        """Return the outcome of the request with `ticket`, or None while it is not known.

        Raises
        ------
        KeyError
            If there is no such ticket, or it is too old.

        """
        with self._changed:
            return self._outcomes[ticket]
