"""What becomes of a partition whose next offset retention has deleted, or that was made anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence
from streamlearn.errors import BrokerError

log = logging.getLogger(__name__)


def where_to_go_on(
    config: Kafka, client: Any, offsets: dict[Any, int], skipped: Callable[[int], None]
) -> dict[Any, int]:
    """Return the offset at which to go on in each partition of `offsets`, which Kafka no longer has.

    Raises
    ------
    BrokerError
        If ``kafka.out_of_range`` says to fail, or Kafka cannot be asked.

    """
    policy = config.out_of_range
    with as_sentence(config):
        starts = client.beginning_offsets(list(offsets))
        ends = client.end_offsets(list(offsets))
    targets = {}
    for partition, offset in offsets.items():
        start, end = starts[partition], ends[partition]
        gap = f"{partition.topic}/{partition.partition} has offsets {start} to {end}, and {offset} is wanted"
        if policy == "fail":
            raise BrokerError(f"{gap}; set kafka.out_of_range to 'earliest' or 'latest' to go on from there")
        targets[partition] = target = start if policy == "earliest" else end
        lost = max(0, target - offset)
        log.error("%s; going on from %s, %d records are lost", gap, policy, lost)
        skipped(lost)
    return targets
