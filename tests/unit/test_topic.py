"""The topic as a source: what it hands on of the configuration, and when it refuses another topic of its name."""

from __future__ import annotations

from typing import Any

import pytest

from streamlearn.config import Kafka, load
from streamlearn.consumer import make_source, topic
from streamlearn.errors import BrokerError
from streamlearn.records import Range


@pytest.mark.parametrize("policy", ["earliest", "latest"])
def test_a_topic_that_was_created_again_is_refused_only_where_the_policy_says_so(policy: str) -> None:
    before, now = {"events": "1"}, {"events": "2"}
    make_source(load(overrides=[f"kafka.out_of_range={policy}"])).require_same(before, now)
    strict = make_source(load(overrides=["kafka.out_of_range=fail"]))
    strict.require_same(before, before)
    with pytest.raises(BrokerError, match="'events' was deleted and created again: its id was 1 and is 2"):
        strict.require_same(before, now)


def test_ranges_are_read_again_under_the_recorded_isolation_level_and_the_options_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Kafka, list[Range]]] = []

    def rereader(kafka: Kafka, _: Any, ranges: list[Range]) -> None:
        asked.append((kafka, ranges))

    monkeypatch.setattr(topic, "Rereader", rereader)
    config = load(overrides=["kafka.client={isolation_level: read_committed, client_rack: a}"])
    ranges = [Range("events", 0, 5, 9, 4)]
    make_source(config).reread(ranges, isolation_level="read_uncommitted")
    ((kafka, given),) = asked
    assert kafka.client == {"isolation_level": "read_uncommitted", "client_rack": "a"}
    assert config.kafka.isolation_level == "read_committed"
    assert given == ranges
