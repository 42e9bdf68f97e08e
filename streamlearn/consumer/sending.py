"""Sends values to the topic of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence, make_producer, require_topics

MOST_WAITING = 1000  # records that have not been acknowledged
CLOSE_SECONDS = 5.0


def send(config: Kafka, values: Iterable[bytes], *, progress: Callable[[int], None]) -> int:
    """Send each of `values`, and return how many Kafka acknowledged.

    Parameters
    ----------
    config
        The section ``kafka``.
    values
        The values of the records.
    progress
        Called with the number sent so far.

    Raises
    ------
    BrokerError
        If the topic does not exist, or Kafka refuses a value.

    """
    require_topics(config)
    with as_sentence(config):
        producer = make_producer(config)
        try:
            sent, waiting = 0, list[Any]()
            for sent, value in enumerate(values, 1):
                waiting.append(producer.send(config.topic, value))
                progress(sent)
                if len(waiting) >= MOST_WAITING:
                    _acknowledged(waiting)
            _acknowledged(waiting)
            return sent
        finally:
            producer.close(timeout=CLOSE_SECONDS)


def _acknowledged(waiting: list[Any]) -> None:
    """Wait for all `waiting` acknowledgements, and empty the list."""
    for future in waiting:
        future.get()
    waiting.clear()
