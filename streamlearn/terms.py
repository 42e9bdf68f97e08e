"""Terms: a learner learns while it is the active member of the group, and stands by otherwise.

Each time the group makes this member the active one, a term begins. It first takes over from the last active learner,
unless that was this one. It ends when the group or another learner's claim on the state directory ends it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from streamlearn.config import Config
from streamlearn.learner import Learner
from streamlearn.parts import Parts

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.5


class Term:
    """One term of a learner.

    Parameters
    ----------
    over
        Returns at once whether the term has ended, without side effects.
    beat
        Called to record that the loop is alive.

    """

    def __init__(self, *, over: Callable[[], bool], beat: Callable[[], None]) -> None:
        self.over, self._beat = over, beat

    def lasts(self) -> bool:
        """Record that the loop is alive, and return whether the term still lasts; raise what has ended a thread."""
        self._beat()
        return not self.over()


class Terms:
    """The terms of this member, one after the other.

    Parameters
    ----------
    config
        The whole configuration.
    parts
        The parts around the loop.
    stopping
        Ends the last term.

    Attributes
    ----------
    starting
        Whether it is starting or taking over: nothing unsaved has been learnt yet, so it may end at once.

    """

    def __init__(self, config: Config, parts: Parts, stopping: threading.Event) -> None:
        self._config, self._parts, self._stopping = config, parts, stopping
        self.starting = True

    def run(
        self, take_over: Callable[[Learner, Callable[[], bool]], bool], learn: Callable[[Learner, Term], None]
    ) -> Learner | None:
        """Load the model and join the group; learn in each term, and stand by in between, until told to stop.

        Parameters
        ----------
        take_over
            Brings a new learner to where the last active one stopped, as long as its second argument says that the term
            lasts; returns whether it succeeded.
        learn
            Learns until the term is over.

        Returns
        -------
        learner
            The learner that matches the state directory, if this process holds the claim on it; else None.

        """
        parts, consumer, fence = self._parts, self._parts.consumer, self._parts.keeper.fence
        parts.recall()
        learner = Learner(self._config)
        parts.monitor.loaded()
        consumer.start()
        self.starting = False
        current = False  # whether `learner` matches the state directory and we hold the claim on it
        last = 0
        while not self._stopping.is_set():
            number = consumer.wait_for_term(last, BEAT_SECONDS)
            self._beat(learner)
            if current and not fence.held:
                log.warning("another learner has taken over since step %d", learner.step)
                current = False
                if consumer.term == last:  # the group does not know that the term has ended
                    consumer.resign()
            if not current and learner.step:
                del learner  # there may not be memory for two
                learner = Learner(self._config)
            if number is None:
                if not current:
                    parts.recall()  # the history of the learner that is active meanwhile
                continue
            last = number  # a learner replaced within this term must not take over again before the group says so
            term = Term(over=partial(self._over, number), beat=partial(self._beat, learner))
            if not current:
                parts.monitor.control.take_over()
            parts.monitor.activated(True)
            self.starting = not current
            current = current or take_over(learner, term.lasts)
            self.starting = False
            if current:
                parts.monitor.taken_over()
                log.info("learning from step %d on", learner.step)
                learn(learner, term)
            del term  # it holds a reference to the learner
            parts.monitor.activated(False)
        return learner if current else None

    def _over(self, number: int) -> bool:
        fence, consumer = self._parts.keeper.fence, self._parts.consumer
        return self._stopping.is_set() or fence.lost or consumer.term != number

    def _beat(self, learner: Learner) -> None:
        """Record that the loop is alive; raise the error that has ended another thread."""
        self._parts.require_alive()
        self._parts.monitor.beat(lambda: (learner.standing(), self._parts.consumer.lag(learner.positions)))
