"""Sends lines to the topic, one record a line, as fast as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence, make_producer, partition_count
from streamlearn.errors import BrokerError


def produce(
    config: Kafka,
    lines: Iterable[bytes],
    *,
    rate: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Send each of `lines` that is not blank, byte for byte, and return how many Kafka acknowledged.

    Parameters
    ----------
    config
        The section ``kafka``: where to.
    lines
        JSON objects, one a line. What is not a valid event is sent all the same: the learner refuses it with a reason.
    rate
        Lines a second, or None for as fast as Kafka takes them.
    progress
        Called with the number sent so far.
    clock, sleep
        Monotonic seconds, and how to wait for them to pass.

    Raises
    ------
    BrokerError
        If the topic does not exist, or Kafka does not take a line.

    """
    if not partition_count(config, config.topic):
        raise BrokerError(f"Kafka at {config.bootstrap_servers} has no topic '{config.topic}'; create it first")
    with as_sentence(config):
        producer = make_producer(config)
        try:
            started, futures, sent = clock(), [], 0
            for line in lines:
                payload = line.rstrip(b"\r\n")
                if not payload.strip():
                    continue
                if rate:
                    sleep(max(0.0, started + sent / rate - clock()))
                futures.append(producer.send(config.topic, payload))
                sent += 1
                progress(sent)
                if len(futures) >= 1000:  # noqa: PLR2004 - bounds what waits for an answer
                    futures = _acknowledged(futures)
            _acknowledged(futures)
            return sent
        finally:
            producer.close(timeout=5)


def _acknowledged(futures: list[object]) -> list[object]:
    for future in futures:
        future.get()  # type: ignore[attr-defined]
    return []
