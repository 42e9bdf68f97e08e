"""The section ``kafka``: where events come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from streamlearn.config.bounds import Bytes, Section, Servers, Text, Topic, Unit, Wait
from streamlearn.config.passed_through import check_client
from streamlearn.config.schema_registry import SchemaRegistry
from streamlearn.config.start import parse

LONGEST_TOPIC = 249
READ_COMMITTED = "read_committed"


class Kafka(Section):
    """Where events come from."""

    bootstrap_servers: Servers = "localhost:9092"
    """Brokers to contact first, as ``host:port,host:port``; one that answers is enough, and names the others."""
    topic: Topic = "events"
    """The topic of labelled events. It must exist."""
    group: Text = "streamlearn"
    """The consumer group. Learners with one group and one ``publisher.directory`` are one active learner and its
    standbys."""
    dead_letter_topic: Topic | Literal[""] = ""
    """Where refused records go; if it is empty, to the topic's name followed by ``.dead-letters``. It is created if it
    is missing."""
    start: Text = "earliest"
    """Where a learner without any state begins: with the oldest record that Kafka has (``earliest``), with what comes
    from now on (``latest``), with what came at a time or later (``timestamp:2026-11-26T09:30:00Z``, or Unix seconds),
    or with given offsets (``offsets:0=1200,1=980``, the other partitions from their oldest). A learner with state
    continues where it ended."""
    out_of_range: Literal["fail", "earliest", "latest"] = "fail"
    """What to do if retention deleted records before they were read: end and say so, or continue from the oldest or the
    newest record. Continuing loses events, and counts them."""
    queue_records: Annotated[int, Unit("records")] = Field(default=4096, ge=1, le=10**7)
    """How many records wait between Kafka and the learner at most. More of them bridge longer stalls of Kafka; fewer
    take less memory."""
    queue_bytes: Bytes = 64 * 2**20
    """How much the waiting records may take, decompressed. It bounds memory (about three times as much in all) and how
    large a record can be."""
    poll_records: Annotated[int, Unit("records")] = Field(default=2000, ge=1, le=10**6)
    """How many records one poll returns at most. More cost less per record; fewer react sooner to a rebalance."""
    connect_timeout_seconds: Wait = 30.0
    """How long the start, and each command, waits for a broker. Once a learner runs, it waits for Kafka without
    limit."""
    schema_registry: SchemaRegistry | None = None
    """The registry that holds the schemas of the topic; needed by ``events.format: avro`` and ``protobuf``."""
    client: dict[str, Any] = Field(default_factory=dict)
    """Any option of kafka-python by its own name, such as ``security_protocol``, ``sasl_mechanism`` or ``ssl_cafile``;
    those that the guarantees rest on are refused. Passwords come from the environment."""

    @property
    def isolation_level(self) -> str:
        """Which records of transactions are read; it decides which events there are."""
        return str(self.client.get("isolation_level", READ_COMMITTED))

    @field_validator("start")
    @classmethod
    def _start_is_a_place(cls, start: str) -> str:
        parse(start)
        return start

    @field_validator("client")
    @classmethod
    def _options_are_kafka_pythons(cls, client: dict[str, Any]) -> dict[str, Any]:
        if client:
            from kafka import KafkaConsumer, KafkaProducer  # noqa: PLC0415 - what decides θ is loaded without it

            check_client(client, {**KafkaProducer.DEFAULT_CONFIG, **KafkaConsumer.DEFAULT_CONFIG})
        return client

    @model_validator(mode="after")
    def _name_the_dead_letter_topic(self) -> Kafka:
        if not self.dead_letter_topic:
            name = f"{self.topic}.dead-letters"
            if len(name) > LONGEST_TOPIC:
                raise ValueError("topic leaves no room for '.dead-letters' behind it; name the dead_letter_topic")
            object.__setattr__(self, "dead_letter_topic", name)
        if self.dead_letter_topic == self.topic:
            raise ValueError(f"dead_letter_topic and topic are both '{self.topic}': refusals would be read again")
        return self
