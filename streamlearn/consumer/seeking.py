"""Finds where in its topic a stopped learner can be moved to, and commits that to the group, without joining it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from streamlearn.config import Kafka
from streamlearn.config.start import Start
from streamlearn.consumer.beginning import first_offsets
from streamlearn.consumer.client import as_sentence, describe, make_admin, make_consumer
from streamlearn.consumer.commits import marked
from streamlearn.errors import BrokerError, ConfigurationError
from streamlearn.records import Partition, Positions

GONE = "Dead"
"""The state of a group that does not exist, or no longer does."""


@dataclass(frozen=True)
class Places:
    """Offsets in the topic.

    Attributes
    ----------
    targets
        The offset to move to in each partition that is moved.
    first
        The oldest retained offset of each partition.

    """

    targets: Positions
    first: Positions


def find(config: Kafka, to: Start) -> Places:
    """Return the offset of `to` in each partition; for explicit offsets only in the partitions given.

    Raises
    ------
    ConfigurationError
        If `to` names a partition or an offset that the topic does not have.
    BrokerError
        If Kafka cannot be asked, or has no such topic.

    """
    topic = config.topic
    with as_sentence(config), closing(make_consumer(config)) as client:
        partitions = [TopicPartition(topic, number) for number in sorted(client.partitions_for_topic(topic) or ())]
        if not partitions:
            raise BrokerError(f"Kafka at {config.bootstrap_servers} has no topic '{topic}'")
        first = _by_key(client.beginning_offsets(partitions))
        if to.kind != "offsets":  # the end of a topic in use may have moved when it is requested again
            return Places(_by_key(first_offsets(config, client, partitions, begun=to)), first)
        end = _by_key(client.end_offsets(partitions))
    targets = {(topic, number): offset for number, offset in sorted(to.offsets.items())}
    for key, offset in targets.items():
        if key not in first:
            raise ConfigurationError(
                f"--to names partition {key[1]}, and topic {topic} has {len(first)} of them, from 0"
            )
        if not first[key] <= offset <= end[key]:
            raise ConfigurationError(
                f"--to names offset {offset} of {topic}/{key[1]}, which has offsets {first[key]} to {end[key]}"
            )
    return Places(targets, first)


def _by_key(offsets: dict[Any, int]) -> Positions:
    return {(partition.topic, partition.partition): offset for partition, offset in offsets.items()}


def members(config: Kafka) -> dict[str, str]:
    """Return the host of each current member of the group; a group that does not exist has none.

    Raises
    ------
    BrokerError
        If Kafka cannot be asked, or refuses.

    """
    with as_sentence(config), closing(make_admin(config)) as admin:
        found = admin.describe_groups([config.group])[config.group]
    if found["group_state"] == GONE:  # with an error since Kafka 4.0 (KIP-1043), without one before
        return {}
    if found["error"]:
        raise BrokerError(
            f"Kafka at {config.bootstrap_servers} does not tell who is in group {config.group}: {found['error']}"
        )
    return {member["member_id"]: str(member["client_host"]).removeprefix("/") for member in found["members"]}


def commit(config: Kafka, positions: Positions) -> str:
    """Commit `positions` to the group, which has no members; return why that failed, or an empty string."""
    try:
        with closing(make_admin(config)) as admin:
            answers = admin.alter_group_offsets(config.group, marked(positions))
    except (KafkaError, OSError) as error:
        return describe(error)
    refused: dict[Partition, str] = {
        (partition.topic, partition.partition): error.__name__
        for partition, error in answers.items()
        if error.errno  # 0 means success
    }
    return next(iter(refused.values()), "")
