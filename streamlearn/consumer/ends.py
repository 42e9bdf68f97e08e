"""The ends of the partitions: they make the lag, and whether Kafka tells them says whether it answers."""

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
    """Asks for the log ends now and then: a paused partition would not tell them, and a standby has none.

    Parameters
    ----------
    config
        The section ``kafka``.
    answers
        Told each time whether Kafka has answered.

    """

    def __init__(self, config: Kafka, *, answers: Callable[[bool], None]) -> None:
        self._config, self._answers = config, answers
        self._ends: Positions = {}
        self._at = 0.0
        self._waiting = False

    def look(self, client: Any, held: set[Any]) -> None:
        """Ask `client`, unless it was asked just now, for the ends of the partitions `held`."""
        if time.monotonic() - self._at < INTERVAL_SECONDS:
            return
        self._at = time.monotonic()
        try:
            ends = self._ask(client, held)
        except UnknownTopicOrPartitionError:  # that is an answer, too
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
        """Return the ends of `held`; where nothing is held, whatever shows that Kafka answers."""
        topic = self._config.topic
        if not client.has_topic(topic):
            client.ask_for_topics(REQUEST_MILLISECONDS)  # it would not tell the ends of what is not there
            return {}
        client.ask_for_topics()  # or a topic that is created again would be noticed only when the metadata are old
        asked = held or {TopicPartition(topic, 0)}
        ends: dict[Any, int] = client.end_offsets(list(asked), timeout_ms=REQUEST_MILLISECONDS)
        return ends

    @property
    def answered(self) -> bool:
        """Whether Kafka answered when it was asked last."""
        return not self._waiting

    def forget(self) -> None:
        """Know no ends any more, and ask again soon."""
        self._ends, self._at = {}, 0.0

    def lag(self, positions: Positions) -> dict[Partition, int]:
        """Return the records between `positions` and the end of each partition held, as last seen."""
        return {partition: max(0, end - positions.get(partition, end)) for partition, end in self._ends.items()}
