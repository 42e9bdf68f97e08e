"""The assignor: all partitions of a topic go to one member of the group, and stay there while it is alive.

One θ cannot be split by partition, so the group has one active learner and the other members stand by. In the group's
protocol, members report what they were last assigned and in which generation of the group (KIP-429 and KIP-792). The
newest such claim wins: a member that was frozen and comes back with an old claim takes nothing from the one that has
replaced it. The protocol is the cooperative one, in which the active member keeps its partitions and continues reading
while a standby joins or leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor, RebalanceProtocol
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription
from kafka.structs import TopicPartition

WITH_GENERATION = 2  # the first version of a member's metadata with both claims and generation


class SingleActiveAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """Assigns all partitions of a topic to one member.

    Parameters
    ----------
    assigned
        Called with all partitions of this member after each rebalance, on kafka-python's own thread.

    """

    name = "streamlearn-single-active"

    def __init__(self, assigned: Callable[[set[TopicPartition]], None]) -> None:
        self._assigned = assigned
        self._held: set[TopicPartition] = set()
        self._generation = -1

    def supported_protocols(self) -> list[RebalanceProtocol]:
        """Return only the cooperative protocol."""
        return [RebalanceProtocol.COOPERATIVE]

    def metadata(self, topics: set[str]) -> ConsumerProtocolSubscription:
        """Return what this member reports to the group leader: what it holds, and since which generation."""
        claim = ConsumerProtocolSubscription.TopicPartition
        return ConsumerProtocolSubscription(
            version=WITH_GENERATION,
            topics=sorted(topics),
            user_data=b"",
            owned_partitions=[
                claim(topic=topic, partitions=sorted(p.partition for p in self._held if p.topic == topic))
                for topic in sorted({partition.topic for partition in self._held})
            ],
            generation_id=self._generation,
        )

    def assign(self, cluster: Any, members: list[Any]) -> dict[str, ConsumerProtocolAssignment]:
        """Return the assignment of each of `members`: all partitions of a topic for one of its subscribers."""
        assignment: dict[str, list[tuple[str, list[int]]]] = {member.member_id: [] for member in members}
        for topic in sorted({topic for member in members for topic in member.metadata.topics}):
            subscribers = [member for member in members if topic in member.metadata.topics]
            active = min(subscribers, key=lambda member: _rank(member, topic))
            known = set(cluster.partitions_for_topic(topic) or ())  # metadata may be older than the assignment
            assignment[active.member_id].append((topic, sorted(known.union(*_claims(active, topic)))))
        return {
            member: ConsumerProtocolAssignment(WITH_GENERATION, topics, b"") for member, topics in assignment.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolAssignment, generation: int) -> None:
        """Remember what is held, for the next rebalance, and pass it on."""
        self._held, self._generation = set(assignment.partitions()), generation
        self._assigned(self._held)

    def forget(self) -> None:
        """Make no claims in the next rebalance."""
        self._held, self._generation = set(), -1


class LossListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reports that the membership is lost; the assignor reports everything else.

    Parameters
    ----------
    lost
        Called with what was held, on kafka-python's own thread.
    failed
        Called with what `lost` raises, which kafka-python would swallow.

    """

    def __init__(self, lost: Callable[[set[Any]], None], *, failed: Callable[[BaseException], None]) -> None:
        self._lost, self._failed = lost, failed

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Do nothing: the assignor reports what is left."""

    def on_partitions_lost(self, lost: Any) -> None:
        """Pass on what was held."""
        try:
            self._lost(set(lost))
        except Exception as error:  # noqa: BLE001 - handed to the learning thread, which raises it
            self._failed(error)

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Do nothing: the assignor reports all that is held."""


def _rank(member: Any, topic: str) -> tuple[int, int, str, str]:
    """Return the sort key of `member` among the subscribers of `topic`: active first, the same on every member."""
    claims = _claims(member, topic)
    generation = member.metadata.generation_id if claims else -1
    return (-generation, -sum(map(len, claims)), member.group_instance_id or "", member.member_id)


def _claims(member: Any, topic: str) -> list[list[int]]:
    """Return the partitions of `topic` that `member` says it holds."""
    return [owned.partitions for owned in member.metadata.owned_partitions or () if owned.topic == topic]
