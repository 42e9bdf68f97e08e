"""Commits of positions to the group: requested by one thread, made by the polling one, which owns the client."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError, RetriableError

from streamlearn.consumer.client import describe
from streamlearn.patience import Patience
from streamlearn.records import Positions

log = logging.getLogger(__name__)

REQUEST_MILLISECONDS = 5000
RETRY_SECONDS = 0.5
WAIT_SECONDS = 10.0
MARK = "streamlearn"
"""The metadata of offsets that a learner has committed; other programs commit without it."""


def marked(positions: Positions) -> dict[Any, Any]:
    """Return `positions` in the form in which kafka-python commits offsets."""
    return {TopicPartition(*key): OffsetAndMetadata(offset, MARK, -1) for key, offset in positions.items()}


class Commits:
    """Passes positions from the thread that wants them committed to the one that may commit them.

    Only the newest request counts. While Kafka is unreachable or the group rebalances, it is kept for later.

    Parameters
    ----------
    taken
        Called after each successful commit.
    patience
        Decides how long to wait for it.

    """

    def __init__(self, *, taken: Callable[[], None], patience: Patience | None = None) -> None:
        self._taken, self._patience = taken, patience or Patience()
        self._changed = threading.Condition()
        self._wish: Positions | None = None
        self._refused = False
        self._closed = False
        self._not_before = 0.0

    def commit(self, positions: Positions) -> bool:
        """Commit `positions`; return False if the group refuses because we are not its active member.

        If Kafka does not accept them within some seconds, True is returned and they are committed later; when the
        learner is stopping there is one attempt only, and its next start commits them.
        """
        with self._changed:
            self._refused = False
            self._wish = wish = dict(positions)
            self._patience.wait_for(self._changed, lambda: self._wish is not wish or self._closed, WAIT_SECONDS)
            return not self._refused

    def serve(self, client: Any) -> None:
        """Make the requested commit, if any, with `client`; on the polling thread."""
        wish = self._wish
        if wish is None or time.monotonic() < self._not_before:
            return
        try:
            client.commit(marked(wish), timeout_ms=REQUEST_MILLISECONDS)
        except KafkaError as error:
            if _passes(error):
                self._not_before = time.monotonic() + RETRY_SECONDS
                log.debug("offsets are committed later: %s", describe(error))
                if self._patience.ending:
                    self._settle(wish, refused=False)
                return
            log.warning("the group refused the committed offsets: %s", describe(error))
            self._settle(wish, refused=True)
        else:
            self._taken()
            self._settle(wish, refused=False)

    def refuse(self) -> None:
        """Refuse the request: the group would accept it from any member, but only the active one may commit."""
        self._settle(self._wish, refused=True)

    def close(self) -> None:
        """Wake up all waiting threads; nothing is waited for any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _settle(self, wish: Positions | None, *, refused: bool) -> None:
        with self._changed:
            if wish is not None and self._wish is wish:
                self._wish, self._refused = None, refused
                self._changed.notify_all()


def _passes(error: KafkaError) -> bool:
    """Whether a commit that failed with `error` can be retried."""
    cause = error.args[0] if isinstance(error, CommitFailedError) and error.args else error
    return isinstance(cause, RetriableError | RebalanceInProgressError)
