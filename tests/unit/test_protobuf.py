"""Protocol Buffers behind the ids of a schema registry: what they say is read, and what is not known is not guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlearn.config import load
from streamlearn.consumer.decode import Decoder
from streamlearn.errors import ConfigurationError
from streamlearn.events import Event, Reason
from tests.conftest import without
from tests.registry import Registry, framed, message, proto, registry
from tests.unit.builders import make_record
from tests.unit.test_decode import assert_event_or_reason

TIMES, WRAPPERS = "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"
TICKET = proto(
    "ticket.proto",
    {
        "Other": {"title": "string"},
        "Ticket": {
            "body": "string",
            "queue": "int64",
            "id": "optional string",
            "at": ".google.protobuf.Timestamp",
            "note": ".google.protobuf.StringValue",
            "tags": "string[]",
            "raw": "bytes",
        },
    },
    TIMES,
    WRAPPERS,
)
VALUE = {"body": "late again", "queue": 7, "id": "t1", "at": "2023-11-14T22:13:20Z", "note": "soon", "tags": ["a", "b"]}
FIELDS = "events.fields={text: body, label: queue, timestamp: at}"


@pytest.fixture
def schemas() -> Iterator[Registry]:
    with registry() as running:
        yield running


def decoder(url: str, *overrides: str) -> Decoder:
    config = load(overrides=["events.format=protobuf", f"kafka.schema_registry.url={url}", FIELDS, *overrides])
    return Decoder(config.events, config.kafka.schema_registry)


def ticket(number: int, **value: object) -> bytes:
    return framed(number, message(TICKET, "Ticket", VALUE | value), 1)


def test_an_event_is_read_by_the_schema_that_it_names_which_is_asked_for_once(schemas: Registry) -> None:
    number = schemas.add_protobuf("tickets-value", TICKET)
    reader = decoder(schemas.url)
    for offset in range(3):
        event = reader.decode(make_record(ticket(number), offset=offset))
        assert isinstance(event, Event), event
        assert (event.text, event.label, event.id, event.timestamp) == ("late again", 7, "t1", 1.7e9)
    assert len(schemas.asked) == 1
    assert "format=serialized" in schemas.asked[0]


@pytest.mark.parametrize(
    ("text", "read"), [("note", "soon"), ("tags[1]", "b"), ("[body, note]", "late again\nsoon"), ("raw", None)]
)
def test_wrappers_lists_and_what_is_no_text_are_taken_for_what_they_are(
    schemas: Registry, text: str, read: str | None
) -> None:
    number = schemas.add_protobuf("tickets-value", TICKET)
    found = decoder(schemas.url, f"events.fields.text={text}").decode(make_record(ticket(number, raw="aGVsbG8=")))
    assert (found.text if isinstance(found, Event) else found) == (read or Reason.WRONG_TYPE)


def test_a_number_that_is_zero_is_there_and_a_message_that_is_not_set_is_not(schemas: Registry) -> None:
    number = schemas.add_protobuf("tickets-value", TICKET)
    reader = decoder(schemas.url)
    event = reader.decode(make_record(framed(number, message(TICKET, "Ticket", {"body": "late"}), 1)))
    assert isinstance(event, Event), event
    assert (event.label, event.identified) == (0, False)
    noted = decoder(schemas.url, "events.fields.text=note")
    assert noted.decode(make_record(framed(number, message(TICKET, "Ticket", {}), 1))) is Reason.MISSING_FIELD


def test_the_first_message_of_a_schema_is_named_by_nothing_or_by_its_index(schemas: Registry) -> None:
    number = schemas.add_protobuf("tickets-value", TICKET)
    reader = decoder(schemas.url, "events.fields={text: title, label: key}")
    other = message(TICKET, "Other", {"title": "late"})
    for value in (framed(number, other), framed(number, other, 0)):
        assert isinstance(reader.decode(make_record(value, key=b"spam")), Event)


def test_what_a_schema_refers_to_is_asked_for_too(schemas: Registry) -> None:
    label = proto("label.proto", {"Label": {"name": "string"}})
    referring = proto("own.proto", {"Referring": {"body": "string", "label": ".tickets.Label"}}, "label.proto")
    schemas.add_protobuf("label.proto", label)
    number = schemas.add_protobuf("tickets-value", referring, references=["label.proto"])
    value = message(referring, "Referring", {"body": "late", "label": {"name": "spam"}}, label)
    event = decoder(schemas.url, "events.fields={text: body, label: label.name}").decode(
        make_record(framed(number, value))
    )
    assert isinstance(event, Event), event
    assert event.label == "spam"


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"", Reason.BAD_FORMAT, "not in the wire format of a schema registry"),
        (b"\0\0\0\0\x64", Reason.BAD_FORMAT, "not what schema 100 says"),
        (framed(100, b"", 5), Reason.BAD_FORMAT, "not what schema 100 says"),
        (framed(100, b"", 1, 0), Reason.BAD_FORMAT, "not what schema 100 says"),
        (b"\0\0\0\0\x64\x01", Reason.BAD_FORMAT, "not what schema 100 says"),
        (b"\0\0\0\0\x64" + b"\xff" * 30, Reason.BAD_FORMAT, "not what schema 100 says"),
        (framed(100, b"\x0a\xff", 1), Reason.BAD_FORMAT, "not what schema 100 says"),
        (framed(101, b""), Reason.UNKNOWN_SCHEMA, "schema 101 is of type AVRO"),
        (framed(102, b""), Reason.UNKNOWN_SCHEMA, "schema 102 cannot be read"),
        (framed(103, b""), Reason.UNKNOWN_SCHEMA, "schema 103 is not in the registry"),
        (ticket(100, body=" "), Reason.EMPTY_TEXT, "text"),
    ],
)
def test_what_is_not_of_its_schema_or_has_none_is_refused(
    schemas: Registry, value: bytes, reason: Reason, detail: str
) -> None:
    schemas.add_protobuf("tickets-value", TICKET)
    schemas.add("other-value", {"type": "string"})
    schemas.add("broken-value", "no protobuf", kind="PROTOBUF")
    reader = decoder(schemas.url)
    for _ in range(2):
        assert reader.decode(make_record(value)) is reason
    assert reader.detail(make_record(value), reason) == detail


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_any_bytes_behind_an_id_are_accepted_or_refused(schemas: Registry, content: bytes) -> None:
    if not schemas.asked:
        schemas.add_protobuf("tickets-value", TICKET)
        schemas.asked.append("")
    assert_event_or_reason(decoder(schemas.url).decode(make_record(b"\0\0\0\0\x64" + content)))


@pytest.mark.parametrize(
    ("file", "kind"),
    [("google/type/date.proto", ".google.type.Date"), ("confluent/type/decimal.proto", ".confluent.type.Decimal")],
)
def test_what_serializers_take_for_known_needs_no_reference(schemas: Registry, file: str, kind: str) -> None:
    dated = proto("dated.proto", {"Dated": {"body": "string", "on": kind}}, file)
    number = schemas.add_protobuf("tickets-value", dated)
    value = message(proto("plain.proto", {"Dated": {"body": "string"}}), "Dated", {"body": "late"})
    reader = decoder(schemas.url, "events.fields={text: body, label: key}")
    assert isinstance(reader.decode(make_record(framed(number, value), key=b"spam")), Event)


def test_a_well_known_file_may_be_referred_to_in_another_version(schemas: Registry) -> None:
    schemas.add_protobuf(TIMES, proto(TIMES, {"Timestamp": {"seconds": "int64"}}))
    number = schemas.add_protobuf("tickets-value", TICKET, references=[TIMES])
    assert isinstance(decoder(schemas.url).decode(make_record(ticket(number))), Event)


def test_without_a_registry_or_its_packages_what_is_missing_is_named(tmp_path: Path) -> None:
    settings = ["events.format=protobuf", "kafka.schema_registry.url=http://127.0.0.1:1"]
    with pytest.raises(ConfigurationError, match=r"needs kafka\.schema_registry\.url"):
        load(overrides=settings[:1])
    told = [f"--set={one}" for one in (*settings, "kafka.bootstrap_servers=127.0.0.1:1")]
    done = without(tmp_path, ["google"], "check", *told)
    assert "events.format: protobuf needs packages that pip install 'streamlearn[protobuf]' brings" in done.stdout
    assert done.returncode == 2
