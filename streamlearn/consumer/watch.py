"""What the consumer reports as it happens, on its own threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _unheard(*_: object) -> None:
    """Ignore the report."""


@dataclass(frozen=True)
class Watch:
    """Who is told what."""

    polled: Callable[[float], None] = _unheard
    """Seconds of one poll that brought records, with their decoding."""
    membership: Callable[[bool], None] = _unheard
    """After a rebalance: True, as the active member or as a standby; False when the membership is lost."""
    skipped: Callable[[int], None] = _unheard
    """Records that retention deleted before they were read, and that the policy says to skip."""
    committed: Callable[[], None] = _unheard
    """The group has taken offsets."""
    answers: Callable[[bool], None] = _unheard
    """Every few seconds: whether Kafka answers."""
