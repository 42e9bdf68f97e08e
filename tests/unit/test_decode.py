from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.config import Events, Fields
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.decoding.acceptance import SECONDS_TO
from streamlearn.consumer.decoding.json_value import MOST_NESTED
from streamlearn.events import Event, Reason
from tests.unit.builders import make_record

OPEN = Decoder(Events(max_text_characters=100))
CLOSED = Decoder(Events(labels=["ham", "spam"]))


def decode(value: bytes | None, decoder: Decoder = OPEN) -> Event | Reason:
    return decoder.decode(make_record(value, offset=7))


def encoded(**fields: Any) -> bytes:
    return json.dumps({"text": "hello", "label": "ham"} | fields).encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.TOMBSTONE),
        (b"", Reason.NOT_JSON),
        (b"hello", Reason.NOT_JSON),
        (b'{"text": "a", "label": "b"} trailing', Reason.NOT_JSON),
        (b'{"text": "\\ud800", "label": "ham"}', Reason.NOT_JSON),
        (b'{"text": "a", "label": "ham", "x": NaN}', Reason.NOT_JSON),
        (b'{"text": "a", "label": "ham", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.NOT_JSON),
        (b'{"text": "\xff", "label": "ham"}', Reason.NOT_UTF8),
        (b'{"text": "a", "label": "ham", "unread": "\xff"}', Reason.NOT_UTF8),
        (b"12,late again,complaint", Reason.NOT_JSON),
        (b'"late again","complaint"', Reason.NOT_JSON),
        (b"null,complaint", Reason.NOT_JSON),
        (b"true false", Reason.NOT_JSON),
        (b"[1, 2", Reason.NOT_JSON),
        (b'{"text": 5, "label"', Reason.NOT_JSON),
        (b'{"text": 5} {}', Reason.NOT_JSON),
        (b"{}{}", Reason.NOT_JSON),
        (b'{"text": "a", "label": 1' + b"0" * 5000, Reason.NOT_JSON),
        (b'\xef\xbb\xbf{"text": "a", "label": "b"}', Reason.NOT_JSON),
        (b'{"text": "a\x00", "label": "ham"}', Reason.NOT_JSON),
        (b'{"text": "a", "label": "\\udc00"}', Reason.NOT_JSON),
        (b'{"text": "a", "label": "ham", "unread": "\\ud800"}', Reason.NOT_JSON),
        (b"12", Reason.WRONG_TYPE),
        (b" null ", Reason.WRONG_TYPE),
        (b"[1, 2]", Reason.WRONG_TYPE),
        (b'"text"', Reason.WRONG_TYPE),
        (encoded(text=5), Reason.WRONG_TYPE),
        (encoded(label=True), Reason.WRONG_TYPE),
        (encoded(label=1.5), Reason.WRONG_TYPE),
        (encoded(label=None), Reason.WRONG_TYPE),
        (encoded(id=[]), Reason.WRONG_TYPE),
        (encoded(id=True), Reason.WRONG_TYPE),
        (encoded(id=1.0), Reason.WRONG_TYPE),
        (b'{"label": "ham"}', Reason.MISSING_FIELD),
        (b'{"text": "hello"}', Reason.MISSING_FIELD),
        (encoded(text=""), Reason.EMPTY_TEXT),
        (encoded(text=" \n\t"), Reason.EMPTY_TEXT),
        (encoded(text="x" * 101), Reason.TEXT_TOO_LONG),
        (encoded(label=""), Reason.EMPTY_LABEL),
        (encoded(label=" \t"), Reason.EMPTY_LABEL),
        (encoded(label="x" * 1000), Reason.FIELD_TOO_LONG),
        (encoded(label=2**63), Reason.FIELD_TOO_LONG),
        (encoded(label=-(2**63) - 1), Reason.FIELD_TOO_LONG),
        (b'{"text": "a", "label": 1' + b"0" * 5000 + b"}", Reason.FIELD_TOO_LONG),
        (encoded(id="x" * 1000), Reason.FIELD_TOO_LONG),
        (b'{"text": "a", "label": "ham", "id": 1' + b"0" * 600 + b"}", Reason.FIELD_TOO_LONG),
        (b'{"text": "a", "label": "ham", "id": 1' + b"0" * 5000 + b"}", Reason.FIELD_TOO_LONG),
        (encoded(timestamp="yesterday"), Reason.BAD_TIMESTAMP),
        (encoded(timestamp="9999-99-99T00:00:00Z"), Reason.BAD_TIMESTAMP),
        (encoded(timestamp=""), Reason.BAD_TIMESTAMP),
        (encoded(timestamp=True), Reason.BAD_TIMESTAMP),
        (encoded(timestamp={}), Reason.BAD_TIMESTAMP),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(value: bytes | None, reason: Reason) -> None:
    assert decode(value) is reason


def test_a_closed_list_tells_an_unknown_label_from_one_of_another_type() -> None:
    assert decode(encoded(label="eggs"), CLOSED) is Reason.UNKNOWN_LABEL
    assert decode(encoded(label=1), CLOSED) is Reason.LABEL_TYPE
    assert isinstance(decode(encoded(label="spam"), CLOSED), Event)


def assert_event_or_reason(outcome: Event | Reason) -> None:
    """`outcome` is a reason, or an event that everything behind the decoder can work with."""
    assert isinstance(outcome, Event | Reason)
    if isinstance(outcome, Event):
        assert outcome.text.strip()
        assert str(outcome.label).strip()
        assert len(str(outcome.label)) <= 512
        assert 0 < len(outcome.id) <= 512
        assert 0.0 <= outcome.timestamp < SECONDS_TO
        assert type(outcome.label) in (str, int)
        for text in (outcome.text, str(outcome.label), outcome.id):
            text.encode()
        assert msgspec.json.decode(msgspec.json.encode(outcome), type=Event) == outcome


@given(st.binary(max_size=400))
def test_any_bytes_are_accepted_or_refused_and_never_raise(value: bytes) -> None:
    assert_event_or_reason(decode(value))


@given(st.data())
def test_an_event_with_any_damage_is_accepted_or_refused_and_never_raises(data: st.DataObject) -> None:
    value = bytearray(encoded(id="a1", timestamp=1_700_000_000, more=[{"a": [1.5, None, "\u00e9"]}]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(value)))
        value[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    assert_event_or_reason(decode(bytes(value)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


NUMBERS = st.integers(-(10**30), 10**30) | st.integers(-2, 5 * 10**9) | st.floats()


@given(
    st.dictionaries(st.sampled_from(["text", "label", "id", "timestamp", "offset"]), JSON | NUMBERS),
    st.integers(-(2**63), 2**63 - 1),
)
def test_any_json_object_is_accepted_or_refused_and_never_raises(value: dict[str, Any], kafkas: int) -> None:
    outcome = OPEN.decode(make_record(json.dumps({"text": "hello"} | value).encode(), offset=7, timestamp=kafkas))
    assert_event_or_reason(outcome)
    if isinstance(outcome, Event):
        assert (outcome.text, outcome.label) == (value.get("text", "hello"), value["label"])
        assert (outcome.topic, outcome.partition, outcome.offset) == ("t", 0, 7)
        assert outcome.id == (str(value["id"]) if outcome.identified else "t/0/7")


@pytest.mark.parametrize("identity", [None, "", " ", "\t\n", "\u00a0"])
def test_an_empty_id_is_none(identity: str | None) -> None:
    event = decode(encoded(id=identity))
    assert isinstance(event, Event)
    assert (event.id, event.identified) == ("t/0/7", False)


@pytest.mark.parametrize("identity", ["a1", 0, -1, 2**70, "t/0/7", " a "])
def test_an_id_of_the_producers_is_taken_as_it_is(identity: str | int) -> None:
    event = decode(encoded(id=identity))
    assert isinstance(event, Event)
    assert (event.id, event.identified) == (str(identity), True)


def test_of_two_fields_of_one_name_the_last_counts() -> None:
    event = decode(b'{"text": "first", "label": "ham", "text": "last"}')
    assert isinstance(event, Event)
    assert event.text == "last"


@pytest.mark.parametrize(
    "timestamp",
    [
        -1,
        -1_700_000_000_000,
        SECONDS_TO,
        SECONDS_TO * 1000,
        1_700_000_000_000_000,  # microseconds
        1_700_000_000_000_000_000,  # nanoseconds
        10**40,
        "1969-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+23:00",
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(timestamp: object) -> None:
    assert decode(encoded(timestamp=timestamp)) is Reason.BAD_TIMESTAMP


@pytest.mark.parametrize("kafkas", [-1, 0, None, 2**62, -(2**62)])
def test_a_time_that_kafka_does_not_tell_is_unknown_and_no_fault_of_the_event(kafkas: int | None) -> None:
    event = OPEN.decode(make_record(encoded(), timestamp=kafkas))
    assert isinstance(event, Event)
    assert event.timestamp == 0.0


@pytest.mark.parametrize("levels", [MOST_NESTED, MOST_NESTED + 1])
def test_how_deeply_json_may_be_nested_does_not_depend_on_the_callers_stack(levels: int) -> None:
    inner = levels - 1  # the object itself is one
    value = b'{"text": "[[ \\" {{", "label": "ham", "x": ' + b"[" * inner + b"]" * inner + b"}"

    def deep(frames: int) -> Event | Reason:
        return deep(frames - 1) if frames else decode(value)

    outcomes = [deep(0), deep(200)]
    if levels == MOST_NESTED:
        assert all(isinstance(outcome, Event) for outcome in outcomes)
    else:
        assert outcomes == [Reason.NOT_JSON] * 2


def test_brackets_in_a_text_are_no_nesting() -> None:
    decoder = Decoder(Events())
    assert isinstance(decode(encoded(text="[" * 2000 + '\\"' + "{" * 2000), decoder), Event)


@pytest.mark.parametrize(
    ("timestamp", "seconds"),
    [
        (1_700_000_000, 1.7e9),
        (1_700_000_000.5, 1_700_000_000.5),
        (1_700_000_000_000, 1.7e9),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14T22:13:20", 1.7e9),
        ("2023-11-15T00:13:20+02:00", 1.7e9),
    ],
)
def test_event_time_is_seconds_milliseconds_or_iso_8601_in_utc(timestamp: object, seconds: float) -> None:
    event = decode(encoded(timestamp=timestamp))
    assert isinstance(event, Event)
    assert event.timestamp == seconds


def test_without_id_and_time_the_source_and_kafkas_time_stand_in() -> None:
    event = decode(encoded())
    assert isinstance(event, Event)
    assert (event.id, event.identified, event.timestamp) == ("t/0/7", False, 1.7e9)


def test_field_names_are_configurable() -> None:
    decoder = Decoder(Events(fields=Fields(text="body", label="class", id="number", timestamp="at")))
    event = decode(b'{"body": "hello", "class": 3, "number": 12, "at": 5, "text": 1}', decoder)
    assert isinstance(event, Event)
    assert (event.text, event.label, event.id, event.timestamp) == ("hello", 3, "12", 5.0)
