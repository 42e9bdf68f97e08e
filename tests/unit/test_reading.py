"""Reading on where the next record is gone, while Kafka answers some of what it is asked and then falls silent."""

from __future__ import annotations

from typing import Any

from kafka.errors import KafkaTimeoutError, OffsetOutOfRangeError
from kafka.structs import TopicPartition

from streamlearn.config import Events, Kafka
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.queue import ArrivalQueue
from streamlearn.consumer.reading import Reading
from streamlearn.source import Watch

PARTITION = TopicPartition("events", 0)


class FallsSilent:
    """Stands for kafka-python's consumer before a broker that stops answering between two requests."""

    def __init__(self) -> None:
        self.answers = False
        self.sought: dict[Any, int] = {}

    def poll(self, timeout_ms: int) -> dict[Any, Any]:
        del timeout_ms
        raise OffsetOutOfRangeError({PARTITION: 5})

    def ask_for_topics(self, timeout_ms: int) -> None:
        """Answer."""

    def topic_id(self, topic: str) -> None:
        del topic

    def beginning_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(partitions, 20)

    def end_offsets(self, partitions: list[Any]) -> dict[Any, int]:
        if not self.answers:
            raise KafkaTimeoutError
        return dict.fromkeys(partitions, 30)

    def seek(self, partition: Any, offset: int) -> None:
        self.sought[partition] = offset


def test_where_kafka_falls_silent_while_it_is_asked_where_to_go_on_that_is_asked_again() -> None:
    skipped: list[int] = []
    config, client = Kafka(out_of_range="earliest"), FallsSilent()
    reading = Reading(
        config,
        decoder=Decoder(Events()),
        dead_letters=DeadLetters(lambda: None, "dead", refused=lambda _: None),
        queue=ArrivalQueue(records=10, bytes=1000),
        watch=Watch(skipped=skipped.append),
    )
    reading.poll(client)
    assert (client.sought, skipped) == ({}, [])
    client.answers = True
    reading.poll(client)
    assert (client.sought, skipped) == ({PARTITION: 20}, [15])
