"""Avro behind the ids of a schema registry: what it says is read, and what is not known of it is not guessed."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlearn.config import load
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.consumer.decoding.registry import UNKNOWN_SECONDS, Schemas
from streamlearn.errors import BrokerError, ConfigurationError, UnavailableError
from streamlearn.events import Event, Reason
from tests.conftest import without
from tests.registry import Registry, avro, registry
from tests.unit.builders import make_record
from tests.unit.test_decode import assert_event_or_reason

TICKET = {
    "type": "record",
    "name": "Ticket",
    "fields": [
        {"name": "body", "type": ["null", "string"]},
        {"name": "class", "type": {"type": "enum", "name": "Class", "symbols": ["billing", "delivery"]}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
VALUE = {"body": "late again", "class": "delivery", "id": UUID(int=7), "at": AT}
FIELDS = "events.fields={text: body, label: class, timestamp: at}"


@pytest.fixture
def schemas() -> Iterator[Registry]:
    with registry() as running:
        yield running


def decoder(url: str, *overrides: str, **environment: str) -> Decoder:
    settings = ["events.format=avro", f"kafka.schema_registry.url={url}", FIELDS, *overrides]
    config = load(overrides=settings, environment=environment)
    return Decoder(config.events, config.kafka.schema_registry)


def test_an_event_is_read_by_the_schema_that_it_names_which_is_asked_for_once(schemas: Registry) -> None:
    number = schemas.add("tickets-value", TICKET)
    reader = decoder(schemas.url)
    for offset in range(3):
        event = reader.decode(make_record(avro(number, TICKET, VALUE), offset=offset))
        assert isinstance(event, Event), event
        assert (event.text, event.label, event.id, event.timestamp) == (
            "late again",
            "delivery",
            str(UUID(int=7)),
            1.7e9,
        )
    assert len(schemas.asked) == 1


def test_what_a_schema_refers_to_is_asked_for_too(schemas: Registry) -> None:
    label = {"type": "record", "name": "Label", "fields": [{"name": "name", "type": "string"}]}
    ticket = {
        "type": "record",
        "name": "Referring",
        "fields": [{"name": "body", "type": "string"}, {"name": "label", "type": "Label"}],
    }
    schemas.add("Label", label)
    number = schemas.add("tickets-value", ticket, references=["Label"])
    reader = decoder(schemas.url, "events.fields={text: body, label: label.name}")
    event = reader.decode(make_record(avro(number, ticket, {"body": "late", "label": {"name": "spam"}}, label)))
    assert isinstance(event, Event), event
    assert event.label == "spam"


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"", Reason.BAD_FORMAT, "not in the wire format of a schema registry"),
        (b'{"body": "late again"}', Reason.BAD_FORMAT, "not in the wire format of a schema registry"),
        (b"\0\0\0\0\x64", Reason.BAD_FORMAT, "not what schema 100 says"),
        (b"\0\0\0\0\x64\x02\x14late", Reason.BAD_FORMAT, "not what schema 100 says"),
        (b"\0\0\0\0\x64\x02\x04\xff\xff", Reason.BAD_FORMAT, "not what schema 100 says"),
        (b"\0\0\0\0\x65x", Reason.UNKNOWN_SCHEMA, "schema 101 is of type JSON"),
        (b"\0\0\0\0\x66x", Reason.UNKNOWN_SCHEMA, "schema 102 cannot be read"),
        (b"\0\0\0\0\x67x", Reason.UNKNOWN_SCHEMA, "schema 103 is not in the registry"),
        (avro(100, TICKET, VALUE | {"body": None}), Reason.WRONG_TYPE, "text"),
        (avro(100, TICKET, VALUE | {"body": " "}), Reason.EMPTY_TEXT, "text"),
    ],
)
def test_what_is_not_of_its_schema_or_has_none_is_refused(
    schemas: Registry, value: bytes, reason: Reason, detail: str
) -> None:
    schemas.add("tickets-value", TICKET)
    schemas.add("other-value", {"type": "object"}, kind="JSON")
    schemas.add("broken-value", {"type": "nothing"})
    reader = decoder(schemas.url)
    for _ in range(2):
        assert reader.decode(make_record(value)) is reason
    assert reader.detail(make_record(value), reason) == detail
    assert len(schemas.asked) <= 1


def test_a_schema_that_is_registered_late_is_asked_for_again_after_a_while(schemas: Registry) -> None:
    times = [0.0]
    config = load(overrides=["events.format=avro", f"kafka.schema_registry.url={schemas.url}"])
    registry_ = config.kafka.schema_registry
    assert registry_
    known = Schemas(registry_, kind="AVRO", parse=lambda schema, _: schema.schema_str, clock=lambda: times[-1])
    for seconds in (0.0, UNKNOWN_SECONDS - 1.0):
        times.append(seconds)
        with pytest.raises(RefusedError, match="is not in the registry"):
            known.get(100)
    assert len(schemas.asked) == 1
    schemas.add("tickets-value", TICKET)
    times.append(UNKNOWN_SECONDS)
    assert json.loads(known.get(100)) == TICKET


def test_a_refusal_holds_nothing_of_the_records_before_it(schemas: Registry) -> None:
    reader = decoder(schemas.url)
    records = [make_record(b"\0\0\0\0\x64" + bytes([number])) for number in range(20)]
    for number in range(10):
        assert reader.decode(records[number]) is Reason.UNKNOWN_SCHEMA
    gc.collect()
    assert len({sys.getrefcount(record) for record in records}) == 1  # those that were refused, and those never met


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_any_bytes_behind_an_id_are_accepted_or_refused(schemas: Registry, content: bytes) -> None:
    if not schemas.asked:
        schemas.add("tickets-value", TICKET)
        schemas.asked.append("")
    assert_event_or_reason(decoder(schemas.url).decode(make_record(b"\0\0\0\0\x64" + content)))


def test_a_registry_that_does_not_answer_says_nothing_about_the_record(schemas: Registry) -> None:
    record = make_record(avro(schemas.add("tickets-value", TICKET), TICKET, VALUE))
    reader = decoder(schemas.url)
    schemas.status = 503
    with pytest.raises(UnavailableError, match="answers 503, asked for schema 100"):
        reader.decode(record)
    assert reader.detail(record, Reason.UNKNOWN_SCHEMA) == ""
    schemas.status = 0
    assert isinstance(reader.decode(record), Event)
    schemas.status = 503
    assert isinstance(reader.decode(record), Event)  # which it knows by now
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        decoder("http://127.0.0.1:1").decode(record)


def test_a_registry_answers_whom_it_knows_and_who_that_is_stays_secret(schemas: Registry) -> None:
    record = make_record(avro(schemas.add("tickets-value", TICKET), TICKET, VALUE))
    schemas.user = "learner:hunter2"
    who = {"STREAMLEARN_KAFKA__SCHEMA_REGISTRY__PASSWORD": "hunter2"}
    right = decoder(schemas.url, "kafka.schema_registry.username=learner", **who)
    assert isinstance(right.decode(record), Event)
    with pytest.raises(
        BrokerError, match=r"refuses schema 100 with 401; kafka\.schema_registry says who asks"
    ) as caught:
        decoder(schemas.url).decode(record)
    assert not isinstance(caught.value, UnavailableError)
    settings = [f"kafka.schema_registry.url={schemas.url}", "kafka.schema_registry.username=learner"]
    assert "hunter2" not in json.dumps(load(overrides=settings, environment=who).masked())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["events.format=avro"], "events.format: avro needs kafka.schema_registry.url"),
        (["kafka.schema_registry.url=registry:8081"], "kafka.schema_registry.url: this is an address"),
        (["kafka.schema_registry.url=http://a:b@c"], "kafka.schema_registry.url: this is an address"),
        (["kafka.schema_registry={username: a}"], "kafka.schema_registry.url"),
        (["kafka.schema_registry={url: 'http://a', username: b}"], "username and password go together"),
    ],
)
def test_a_registry_that_is_not_named_rightly_is_said_at_once(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(overrides=overrides)


def test_without_the_extra_or_the_certificate_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    settings = ["events.format=avro", "kafka.schema_registry.url=http://127.0.0.1:1"]
    missing = [f"--set={one}" for one in (*settings, "kafka.bootstrap_servers=127.0.0.1:1")]
    for module in ("fastavro", "confluent_kafka"):
        done = without(tmp_path, [module], "check", *missing)
        assert "events.format: avro needs packages that pip install 'streamlearn[avro]' brings" in done.stdout
        assert done.returncode == 2
    with pytest.raises(ConfigurationError, match=r"kafka\.schema_registry: .*"):
        decoder("https://127.0.0.1:1", f"kafka.schema_registry.ssl_cafile={tmp_path / 'nowhere'}")
    with pytest.raises(ConfigurationError, match="is for a topic"):
        Decoder(load(overrides=settings).events)
