"""Sends lines to the topic, one record a line, as fast as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from streamlearn.config import Kafka
from streamlearn.consumer.sending import send


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
        The section ``kafka``.
    lines
        JSON objects, one a line. Invalid events are sent as well: the learner refuses them with a reason.
    rate
        Lines a second, or None for as fast as Kafka accepts them.
    progress
        Called with the number sent so far.
    clock, sleep
        Monotonic seconds, and how to wait for them to pass.

    Raises
    ------
    BrokerError
        If the topic does not exist, or Kafka refuses a line.

    """
    return send(config, _values(lines, rate, clock, sleep), progress=progress)


def _values(
    lines: Iterable[bytes], rate: float | None, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[bytes]:
    """Yield each of `lines` that is not blank, without its end, at `rate`."""
    started, sent = clock(), 0
    for line in lines:
        value = line.rstrip(b"\r\n")
        if not value.strip():
            continue
        if rate:
            sleep(max(0.0, started + sent / rate - clock()))
        yield value
        sent += 1
