"""Whatever a record is, it ends in exactly one place: accepted, a duplicate, or a dead letter that tells it all."""

from __future__ import annotations

from hypothesis import Phase, given, settings

from streamlearn.config import Config
from streamlearn.consumer.client import create_topic
from streamlearn.local.broker import Broker
from tests.integration.learner import event
from tests.integration.records import Course, batches, is_letter_of
from tests.integration.wire import Sent


def test_every_record_ends_in_one_place_and_none_raises_or_blocks(config: Config) -> None:
    course = assert_every_record_ends_in_one_place(config, examples=20)
    assert course.accepted
    assert course.whole
    assert not course.stubs


def test_every_record_ends_in_one_place_where_the_dead_letter_topic_takes_little(
    broker: Broker, config: Config
) -> None:
    create_topic(config.kafka, config.kafka.dead_letter_topic, settings={"max.message.bytes": "3000"})
    course = assert_every_record_ends_in_one_place(config, examples=10)
    assert course.accepted
    assert course.whole
    assert course.stubs or broker.name == "noida-db"  # which has no such limit


def assert_every_record_ends_in_one_place(config: Config, *, examples: int) -> Course:
    """Put drawn records through a consumer, and look where each of them is."""
    with Course(config).running() as course:
        course.take(course.put([([Sent(event(0))], "none")]))  # labels are texts from here on

        @settings(max_examples=examples, phases=[Phase.explicit, Phase.generate])
        @given(drawn=batches())
        def each(drawn: list[tuple[list[Sent], str]]) -> None:
            offsets = course.put(drawn)
            if not offsets:
                return
            accepted, letters, duplicates = course.take(offsets)
            assert not set(accepted) & set(letters)
            assert set(accepted) | set(letters) <= set(offsets)
            assert len(accepted) + len(letters) + duplicates == len(offsets)
            for offset, letter in letters.items():
                assert is_letter_of(letter, course.sent[offset])

        each()
    return course
