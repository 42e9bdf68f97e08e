"""Where to continue when the next records are gone: deleted by retention, by truncation or with the topic."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from streamlearn.config import Kafka
from streamlearn.consumer.client import as_sentence
from streamlearn.errors import BrokerError
from streamlearn.records import Topics

log = logging.getLogger(__name__)


def where_to_go_on(
    config: Kafka, client: Any, offsets: dict[Any, int], skipped: Callable[[int], None]
) -> dict[Any, int]:
    """Return the offset at which to continue in each partition of `offsets`, which Kafka no longer has.

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
            raise BrokerError(f"{gap}; set kafka.out_of_range to 'earliest' or 'latest' to continue from there")
        targets[partition] = target = start if policy == "earliest" else end
        lost = max(0, target - offset)
        log.error("%s; continuing from %s, %d offsets are skipped", gap, policy, lost)
        skipped(lost)
    return targets


def after_truncation(config: Kafka, divergent: dict[Any, Any], client: Any) -> dict[Any, int]:
    """Return where to continue in partitions whose log was truncated, because a replica without its end became leader.

    `divergent` has the offset of that, or None if the leader does not know it.

    Raises
    ------
    BrokerError
        If ``kafka.out_of_range`` says to fail, or Kafka cannot be asked.

    """
    targets = {}
    for partition, known in divergent.items():
        where = f"{partition.topic}/{partition.partition}"
        with as_sentence(config):
            target = known.offset if known else client.end_offsets([partition])[partition]
        lost = f"the log of {where} was cut back to offset {target}: records that were read are no longer in Kafka"
        if config.out_of_range == "fail":
            raise BrokerError(f"{lost}; set kafka.out_of_range to 'earliest' or 'latest' to continue from there")
        log.error("%s; continuing from there", lost)
        targets[partition] = target
    return targets


def created_again(config: Kafka, before: Topics, now: Topics) -> str:
    """Log that the topic was re-created since the positions, and return whether to begin at its start or end.

    Raises
    ------
    BrokerError
        If ``kafka.out_of_range`` says to fail.

    """
    topic, policy = config.topic, config.out_of_range
    fact = f"topic '{topic}' was deleted and created again: its id was {before.get(topic)} and is {now.get(topic)}"
    if policy == "fail":
        raise BrokerError(
            f"{fact}; set kafka.out_of_range to 'earliest' or 'latest' to continue with the new topic from there, "
            "or move publisher.directory away to learn it from nothing"
        )
    log.error("%s; continuing with the new one from %s; what was not yet learnt of the old one is lost", fact, policy)
    return policy
