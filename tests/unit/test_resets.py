"""What is said of offsets that another program has committed for the group."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import GroupAuthorizationFailedError

from streamlearn.config import Kafka
from streamlearn.consumer.commits import marked
from streamlearn.consumer.resets import tell_of_resets

CONFIG = Kafka(topic="t", group="g")


class Group:
    """Stands for a member of a group that has committed `offsets`."""

    def __init__(self, offsets: dict[Any, Any]) -> None:
        self._offsets = offsets

    def offsets_committed(self, partitions: list[Any], _: int) -> dict[Any, Any]:
        return {partition: self._offsets[partition] for partition in partitions if partition in self._offsets}


def foreign(offsets: dict[int, int]) -> dict[Any, Any]:
    return {TopicPartition("t", number): OffsetAndMetadata(offset, "", -1) for number, offset in offsets.items()}


def told(group: Any, positions: dict[int, int], *, begins: bool = False) -> bool:
    held = {TopicPartition("t", number) for number in positions}
    places = {("t", number): offset for number, offset in positions.items()}
    return tell_of_resets(CONFIG, group, held, places, begins=begins)


@pytest.mark.parametrize(
    "committed",
    [
        pytest.param({}, id="never"),
        pytest.param(foreign({0: -1}), id="not this partition"),
        pytest.param(foreign({0: 7}), id="where it reads"),
        pytest.param(foreign({1: 3}), id="of a partition that it does not hold"),
        pytest.param(marked({("t", 0): 3}), id="by a learner, before it was killed"),
    ],
)
def test_of_offsets_that_a_learner_has_committed_or_that_are_where_it_reads_nothing_is_said(
    committed: dict[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert told(Group(committed), {0: 7})
    assert not caplog.messages


def test_others_are_named_with_the_command_that_would_move_there(caplog: pytest.LogCaptureFixture) -> None:
    assert told(Group({**foreign({0: 9}), **marked({("t", 1): 1})}), {0: 7, 1: 7})
    (line,) = caplog.messages
    assert "the offsets of group g were committed by another program" in line
    assert "earlier streamlearn" not in line
    assert "t/0 is read from 7 and not from 9. Positions come from the checkpoint" in line
    assert line.endswith("give 'streamlearn seek --to offsets:0=9'")


def test_of_those_behind_what_is_learnt_an_earlier_streamlearn_may_be_the_cause_and_no_command_is_at_hand(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert told(Group(foreign({0: 3, 1: 9})), {0: 7, 1: 7})
    (line,) = caplog.messages
    assert "committed by another program (such as kafka-consumer-groups.sh --reset-offsets) or by an earlier" in line
    assert "t/0 is read from 7 and not from 3, t/1 is read from 7 and not from 9. Positions come from" in line
    assert "seek --to" not in line
    assert "docs/how-to/control.md says how to move them" in line


def test_of_many_partitions_a_few_are_named(caplog: pytest.LogCaptureFixture) -> None:
    assert told(Group(foreign(dict.fromkeys(range(40), 9))), dict.fromkeys(range(40), 7))
    (line,) = caplog.messages
    assert "t/4 is read from 7 and not from 9 and 35 more." in line
    assert "seek --to offsets:…'" in line


def test_where_kafka_does_not_tell_nothing_is_known_and_reading_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    class Refused(Group):
        def offsets_committed(self, partitions: list[Any], _: int) -> dict[Any, Any]:
            raise GroupAuthorizationFailedError(partitions)

    assert not told(Refused({}), {0: 7})
    assert not caplog.messages
