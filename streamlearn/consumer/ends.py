"""The end offsets of the partitions: needed for the lag, and as a check that Kafka answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError, UnknownTopicOrPartitionError

from streamlearn.config import Kafka
from streamlearn.consumer.client import describe
from streamlearn.consumer.commits import REQUEST_MILLISECONDS
from streamlearn.records import Partition, Positions

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0


class LogEnds:
    """Requests the end offsets periodically: a paused partition does not report them, and a standby has no partitions.

    Parameters
    ----------
    config
        The section ``kafka``.
    answers
        Called each time with whether Kafka has answered.

    """

    def __init__(self, config: Kafka, *, answers: Callable[[bool], None]) -> None:
        self._config, self._answers = config, answers
        self._ends: Positions = {}
        self._at = 0.0
        self._waiting = False

    def look(self, client: Any, held: set[Any]) -> None:
        """Request the ends of the partitions `held` from `client`, unless that was done just now."""
        if time.monotonic() - self._at < INTERVAL_SECONDS:
            return
        self._at = time.monotonic()
        try:
            ends = self._ask(client, held)
        except UnknownTopicOrPartitionError:  # an answer, too
            ends = {}
        except KafkaError as error:
            if not self._waiting:
                log.warning("waiting for Kafka at %s: %s", self._config.bootstrap_servers, describe(error))
            self._waiting = True
            self._answers(False)
            return
        self._answers(True)
        if self._waiting:
            self._waiting = False
            log.info("Kafka at %s answers again", self._config.bootstrap_servers)
        self._ends = {(p.topic, p.partition): end for p, end in ends.items() if p in held}

    def _ask(self, client: Any, held: set[Any]) -> dict[Any, int]:
        """Return the ends of `held`; if nothing is held, make another request to see whether Kafka answers."""
        topic = self._config.topic
        if not client.has_topic(topic):
            client.ask_for_topics(REQUEST_MILLISECONDS)  # a missing topic has no ends
            return {}
        client.ask_for_topics()  # otherwise a re-created topic would be noticed only when the metadata expire
        asked = held or {TopicPartition(topic, 0)}
        ends: dict[Any, int] = client.end_offsets(list(asked), timeout_ms=REQUEST_MILLISECONDS)
        return ends

    @property
    def answered(self) -> bool:
        """Whether Kafka answered the last request."""
        return not self._waiting

    def forget(self) -> None:
        """Forget the ends, and request them again soon."""
        self._ends, self._at = {}, 0.0

    def lag(self, positions: Positions) -> dict[Partition, int]:
        """Return the records between `positions` and the end of each partition held, as last seen."""
        return {partition: max(0, end - positions.get(partition, end)) for partition, end in self._ends.items()}
