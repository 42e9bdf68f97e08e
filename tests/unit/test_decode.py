from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.config import Events, Fields
from streamlearn.consumer.decode import Decoder
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
        (b"[1, 2]", Reason.WRONG_TYPE),
        (b'"text"', Reason.WRONG_TYPE),
        (encoded(text=5), Reason.WRONG_TYPE),
        (encoded(label=True), Reason.WRONG_TYPE),
        (encoded(label=1.5), Reason.WRONG_TYPE),
        (encoded(label=None), Reason.WRONG_TYPE),
        (encoded(id=[]), Reason.WRONG_TYPE),
        (b'{"label": "ham"}', Reason.MISSING_FIELD),
        (b'{"text": "hello"}', Reason.MISSING_FIELD),
        (encoded(text=""), Reason.EMPTY_TEXT),
        (encoded(text=" \n\t"), Reason.EMPTY_TEXT),
        (encoded(text="x" * 101), Reason.TEXT_TOO_LONG),
        (encoded(label=""), Reason.EMPTY_LABEL),
        (encoded(label="x" * 1000), Reason.FIELD_TOO_LONG),
        (encoded(id="x" * 1000), Reason.FIELD_TOO_LONG),
        (encoded(timestamp="yesterday"), Reason.BAD_TIMESTAMP),
        (encoded(timestamp="9999-99-99T00:00:00Z"), Reason.BAD_TIMESTAMP),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(value: bytes | None, reason: Reason) -> None:
    assert decode(value) is reason


def test_a_closed_list_tells_an_unknown_label_from_one_of_another_type() -> None:
    assert decode(encoded(label="eggs"), CLOSED) is Reason.UNKNOWN_LABEL
    assert decode(encoded(label=1), CLOSED) is Reason.LABEL_TYPE
    assert isinstance(decode(encoded(label="spam"), CLOSED), Event)


@given(st.binary(max_size=400))
def test_any_bytes_are_accepted_or_refused_and_never_raise(value: bytes) -> None:
    assert isinstance(decode(value), Event | Reason)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "label", "id", "timestamp", "offset"]), JSON))
def test_any_json_object_is_accepted_or_refused_and_never_raises(value: dict[str, Any]) -> None:
    outcome = decode(json.dumps(value).encode())
    assert isinstance(outcome, Event | Reason)
    if isinstance(outcome, Event):
        assert (outcome.text, outcome.label) == (value["text"], value["label"])
        assert (outcome.topic, outcome.partition, outcome.offset) == ("t", 0, 7)


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
    assert (event.id, event.timestamp) == ("t/0/7", 1.7e9)


def test_field_names_are_configurable() -> None:
    decoder = Decoder(Events(fields=Fields(text="body", label="class", id="key", timestamp="at")))
    event = decode(b'{"body": "hello", "class": 3, "key": 12, "at": 5, "text": 1}', decoder)
    assert isinstance(event, Event)
    assert (event.text, event.label, event.id, event.timestamp) == ("hello", 3, "12", 5.0)
