from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription
from kafka.structs import TopicPartition

from streamlearn.consumer.assignor import SingleActiveAssignor

PARTITIONS = {TopicPartition("t", number) for number in range(3)}


class Cluster:
    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0, 1, 2} if topic == "t" else None


@dataclass
class Member:
    """A member as the coordinator tells it to the one that assigns."""

    member_id: str
    metadata: Any
    group_instance_id: str | None = None


def ignore(_: set[TopicPartition]) -> None:
    pass


def joining(name: str, *, holding: int = 0, generation: int = -1, instance: str | None = None) -> Member:
    """Return a member that says it was assigned the first `holding` partitions in `generation`."""
    assignor = SingleActiveAssignor(ignore)
    if holding:
        assignor.on_assignment(ConsumerProtocolAssignment(0, [("t", list(range(holding)))], b""), generation)
    sent = assignor.metadata({"t"}).encode()
    return Member(name, ConsumerProtocolSubscription.decode(sent), instance)


def assigned(*members: Member, cluster: Any = None) -> dict[str, set[TopicPartition]]:
    assignment = SingleActiveAssignor(ignore).assign(cluster or Cluster(), list(members))
    return {
        name: set(ConsumerProtocolAssignment.decode(share.encode()).partitions()) for name, share in assignment.items()
    }


def test_the_only_member_gets_everything() -> None:
    assert assigned(joining("a")) == {"a": PARTITIONS}


def test_the_active_member_keeps_everything_and_gets_what_is_added() -> None:
    assert assigned(joining("a"), joining("b", holding=2, generation=4)) == {"a": set(), "b": PARTITIONS}


def test_a_member_that_comes_back_with_an_older_claim_stands_by() -> None:
    back, active = joining("a", holding=3, generation=4), joining("b", holding=1, generation=5)
    assert assigned(back, active) == {"a": set(), "b": PARTITIONS}


def test_among_new_members_the_first_by_its_static_name_is_active() -> None:
    assert assigned(joining("a", instance="pod-1"), joining("b", instance="pod-0"))["b"] == PARTITIONS


def test_a_topic_that_is_not_known_yet_assigns_nothing() -> None:
    member = joining("a")
    member.metadata.topics = ["elsewhere"]
    assert assigned(member) == {"a": set()}


def test_partitions_that_metadata_lacks_for_a_moment_stay_with_the_active_member() -> None:
    class Forgetful:
        def partitions_for_topic(self, _: str) -> set[int] | None:
            return None

    active = joining("a", holding=3, generation=4)
    assert assigned(active, joining("b"), cluster=Forgetful()) == {"a": PARTITIONS, "b": set()}


@given(
    st.lists(
        st.builds(
            joining, st.uuids().map(str), holding=st.integers(0, 3), generation=st.integers(0, 9), instance=st.none()
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda member: member.member_id,
    ),
    st.randoms(use_true_random=False),
)
def test_one_member_has_everything_whoever_is_asked_in_whatever_order(members: list[Member], random: Any) -> None:
    first = assigned(*members)
    assert sorted(map(len, first.values())) == [*[0] * (len(members) - 1), 3]
    random.shuffle(members)
    assert assigned(*members) == first
