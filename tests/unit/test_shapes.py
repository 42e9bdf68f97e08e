"""Events as producers write them: where their fields stand is configuration, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.config import Config, Csv, Events, Fields, load
from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.decoding import json_value
from streamlearn.consumer.decoding.shaped import Shaped
from streamlearn.consumer.sampled import looked_at
from streamlearn.errors import ConfigurationError
from streamlearn.events import Event, Reason
from tests.unit.builders import make_record
from tests.unit.test_decode import JSON, NUMBERS, assert_event_or_reason


def decoder(**fields: Any) -> Decoder:
    return Decoder(Events(fields=Fields(**fields)))


def decoded(value: Any, decoder: Decoder, **record: Any) -> Event | Reason:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return decoder.decode(make_record(content, offset=7, **record))


def event(value: Any, decoder: Decoder, **record: Any) -> Event:
    outcome = decoded(value, decoder, **record)
    assert isinstance(outcome, Event), outcome
    return outcome


NESTED = {"payload": {"body": "late again", "class": 3, "at": "2023-11-14T22:13:20Z"}, "meta": {"id": 12}}


def test_dots_lead_into_objects_and_numbers_into_lists() -> None:
    nested = decoder(text="payload.body", label="payload.class", id="meta.id", timestamp="payload.at")
    found = event(NESTED, nested)
    assert (found.text, found.label, found.id, found.timestamp) == ("late again", 3, "12", 1.7e9)
    listed = decoder(text="messages[-1].body", label="tags[?name=='class'].value | [0]")
    value = {"messages": [{"body": "first"}, {"body": "last"}], "tags": [{"name": "class", "value": "late"}]}
    assert (event(value, listed).text, event(value, listed).label) == ("last", "late")


def test_the_row_after_a_change_is_read_from_debeziums_envelope_with_and_without_its_schema() -> None:
    row = {"id": 41, "body": "late again", "class": "complaint"}
    payload = {"before": None, "after": row, "op": "c", "ts_ms": 1_700_000_000_000, "source": {"table": "tickets"}}
    bare = decoder(text="after.body", label="after.class", id="after.id", timestamp="ts_ms")
    with_schema = decoder(
        text="payload.after.body", label="payload.after.class", id="payload.after.id", timestamp="payload.ts_ms"
    )
    for value, reader in ((payload, bare), ({"schema": {"type": "struct"}, "payload": payload}, with_schema)):
        found = event(value, reader)
        assert (found.text, found.label, found.id, found.timestamp) == ("late again", "complaint", "41", 1.7e9)
    deleted = payload | {"before": row, "after": None, "op": "d"}
    assert decoded(deleted, bare) is Reason.MISSING_FIELD


def test_key_and_headers_hold_fields_as_text() -> None:
    reader = decoder(text="body", label="header:class", id="key", timestamp="header:at")
    headers = [("class", b"first"), ("at", b"1700000000.5"), ("class", "prüfen".encode())]
    found = event({"body": "late again"}, reader, key=b"k-1", headers=headers)
    assert (found.text, found.label, found.id, found.timestamp) == ("late again", "prüfen", "k-1", 1_700_000_000.5)
    assert event({"body": "x"}, reader, headers=[("class", b"a"), ("at", b"2023-11-14T22:13:20Z")]).timestamp == 1.7e9
    assert event({"body": "x"}, reader, headers=[("class", b"a"), ("at", b"")]).identified is False


@pytest.mark.parametrize(
    ("record", "reason", "field"),
    [
        ({}, Reason.MISSING_FIELD, "label"),
        ({"headers": [("class", None)]}, Reason.MISSING_FIELD, "label"),
        ({"headers": [("class", b"")]}, Reason.EMPTY_LABEL, "label"),
        ({"headers": [("class", b"\xff")]}, Reason.NOT_UTF8, "label"),
        ({"headers": [("class", b"a")], "key": b"\xff"}, Reason.NOT_UTF8, "id"),
        ({"headers": [("class", b"a")], "key": b"x" * 1000}, Reason.FIELD_TOO_LONG, "id"),
        ({"headers": [("class", b"a"), ("at", b"noon")]}, Reason.BAD_TIMESTAMP, "timestamp"),
        ({"headers": [("class", b"a"), ("at", b"9" * 400)]}, Reason.BAD_TIMESTAMP, "timestamp"),
    ],
)
def test_what_key_and_headers_do_not_hold_is_refused_by_the_name_of_the_field(
    record: dict[str, Any], reason: Reason, field: str
) -> None:
    reader = decoder(text="body", label="header:class", id="key", timestamp="header:at")
    refused = make_record(b'{"body": "late again"}', **record)
    assert reader.decode(refused) is reason
    assert reader.detail(refused, reason) == field


def test_a_label_without_a_type_is_an_integer_where_the_list_of_labels_is_of_integers() -> None:
    reader = Decoder(Events(fields=Fields(label="key"), labels=[1, 2, -3]))
    assert [event({"text": "x"}, reader, key=key).label for key in (b"1", b"-3")] == [1, -3]
    assert decoded({"text": "x"}, reader, key=b"4") is Reason.UNKNOWN_LABEL
    assert decoded({"text": "x"}, reader, key=b"one") is Reason.LABEL_TYPE
    assert event({"text": "x"}, decoder(label="key"), key=b"1").label == "1"


def test_a_text_is_joined_of_its_parts_by_line_breaks_without_those_that_are_missing_or_blank() -> None:
    reader = decoder(text=["title", "body.plain", "header:footer"])
    value = {"title": "Refund", "body": {"plain": "late again"}, "label": "a"}
    assert event(value, reader, headers=[("footer", b"bye")]).text == "Refund\nlate again\nbye"
    assert event(value | {"title": None}, reader).text == "late again"
    assert event(value | {"title": " "}, reader).text == "late again"
    assert decoded({"label": "a"}, reader) is Reason.MISSING_FIELD
    assert decoded({"label": "a", "title": ""}, reader) is Reason.EMPTY_TEXT
    assert decoded(value | {"title": 5}, reader) is Reason.WRONG_TYPE
    refused = make_record(b'{"label": "a", "title": 5}')
    assert reader.detail(refused, Reason.WRONG_TYPE) == "text"


def test_a_name_that_would_be_read_as_a_path_is_reached_in_quotes() -> None:
    reader = decoder(text='"a.b"', label='"key"', id='"header:id"', timestamp='"@timestamp"')
    value = {"a.b": "late again", "key": "complaint", "header:id": "e1", "@timestamp": 1_700_000_000}
    found = event(value, reader)
    assert (found.text, found.label, found.id, found.timestamp) == ("late again", "complaint", "e1", 1.7e9)
    odd = decoder(text=r'"a\"b"', label="user-name", id="größe $/%")
    assert event({'a"b': "late again", "user-name": "x", "größe $/%": 5}, odd).text == "late again"


def test_an_expression_that_does_not_fit_the_value_is_a_refusal_and_no_error() -> None:
    reader = decoder(text="join(' ', words)", label="ceil(to_number(number))")
    assert event({"words": ["late", "again"], "number": "2.5"}, reader).label == 3
    assert decoded({"words": ["late", 5], "number": "2.5"}, reader) is Reason.WRONG_TYPE
    assert decoded({"words": ["late"], "number": "inf"}, reader) is Reason.WRONG_TYPE
    assert decoded({"number": "2.5"}, reader) is Reason.WRONG_TYPE
    refused = make_record(b'{"words": ["late"], "number": "inf"}')
    assert reader.detail(refused, Reason.WRONG_TYPE) == "label"


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"hello", Reason.NOT_JSON, ""),
        (b'{"a": "\xff"}', Reason.NOT_UTF8, ""),
        (b'{"a": ' + b"[" * 100_000, Reason.NOT_JSON, ""),
        (b'["late again"]', Reason.WRONG_TYPE, "value"),
        (b'{"payload": "late again"}', Reason.MISSING_FIELD, "text"),
        (b'{"payload": {"body": null}}', Reason.WRONG_TYPE, "text"),
        (b'{"payload": {"body": "a"}}', Reason.MISSING_FIELD, "label"),
        (b'{"payload": {"body": "a"}, "label": 1.5}', Reason.WRONG_TYPE, "label"),
        (b'{"payload": {"body": "a"}, "label": "a", "id": []}', Reason.WRONG_TYPE, "id"),
        (b'{"payload": {"body": "a"}, "label": "a", "timestamp": "noon"}', Reason.BAD_TIMESTAMP, "timestamp"),
        (b'{"payload": {"body": "a"}, "label": ""}', Reason.EMPTY_LABEL, "label"),
    ],
)
def test_what_is_no_event_under_a_path_is_refused_by_the_name_of_the_field(
    value: bytes, reason: Reason, detail: str
) -> None:
    reader = decoder(text="payload.body")
    assert reader.decode(make_record(value)) is reason
    assert reader.detail(make_record(value), reason) == detail


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b'{"body": "a"}', Reason.MISSING_FIELD, "label"),
        (b'{"label": "a"}', Reason.MISSING_FIELD, "text"),
        (b'{"body": 5, "label": "a"}', Reason.WRONG_TYPE, "text"),
        (b'{"body": "a", "label": 1' + b"0" * 600 + b"}", Reason.FIELD_TOO_LONG, "label"),
        (b'{"body": "a", "label": "a", "id": "' + b"x" * 600 + b'"}', Reason.FIELD_TOO_LONG, "id"),
        (b'{"body": "a", "label": "a", "timestamp": true}', Reason.BAD_TIMESTAMP, "timestamp"),
        (b'{"body": "", "label": "a"}', Reason.EMPTY_TEXT, "text"),
        (b"[1]", Reason.WRONG_TYPE, "value"),
        (None, Reason.TOMBSTONE, ""),
    ],
)
def test_a_reason_names_its_field_where_all_stand_at_the_top_too(
    value: bytes | None, reason: Reason, detail: str
) -> None:
    reader = decoder(text="body")
    assert reader.decode(make_record(value)) is reason
    assert reader.detail(make_record(value), reason) == detail


@given(
    st.dictionaries(st.sampled_from(["text", "label", "id", "timestamp", "more"]), JSON | NUMBERS)
    | JSON.filter(lambda value: not isinstance(value, dict))
)
def test_fields_at_the_top_are_found_alike_with_and_without_a_tree_of_the_rest(value: Any) -> None:
    quick, shaped = Decoder(Events()), Decoder(Events())
    shaped._read = Shaped(Events(), json_value.tree).read  # what reads any shape
    record = make_record(json.dumps(value).encode(), offset=7)
    outcomes = [quick.decode(record), shaped.decode(record)]
    assert_event_or_reason(outcomes[0])
    if any(isinstance(outcome, Event) for outcome in outcomes):
        assert outcomes[0] == outcomes[1]


@given(JSON, st.none() | st.binary(max_size=20), st.lists(st.tuples(st.just("class"), st.none() | st.binary())))
def test_whatever_stands_in_value_key_and_headers_is_accepted_or_refused(
    value: Any, key: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    reader = decoder(text=["title", "body[0].text || @"], label="header:class", id="max(ids)", timestamp="key")
    record = make_record(json.dumps(value).encode(), key=key, headers=headers)
    outcome = reader.decode(record)
    assert_event_or_reason(outcome)
    if isinstance(outcome, Reason):
        assert isinstance(reader.detail(record, outcome), str)


CSV = Events(format="csv", csv=Csv(columns=["id", "text", "class", "at"]), fields=Fields(label="class", timestamp="at"))


def test_a_row_of_csv_is_an_event_of_its_columns() -> None:
    reader = Decoder(CSV)
    found = event(b'e1,"late, ""again""\nand again",complaint,1700000000\r\n', reader)
    assert (found.text, found.label, found.id) == ('late, "again"\nand again', "complaint", "e1")
    assert found.timestamp == 1.7e9
    assert event(b",late again,3,", reader).identified is False
    tabs = Events(format="csv", csv=Csv(columns=["label", "text"], delimiter="\t"), labels=[1, 2])
    assert event(b"2\tlate, again", Decoder(tabs)).label == 2


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (b"", Reason.BAD_FORMAT, "0 rows"),
        (b"a,b,c,\nd,e,f,", Reason.BAD_FORMAT, "2 rows"),
        (b"late again,complaint", Reason.BAD_FORMAT, "2 columns"),
        (b'{"text": "late again"}', Reason.BAD_FORMAT, "1 columns"),
        (b"id,text,class,at", Reason.BAD_FORMAT, "the names of the columns"),
        (b'e1,"late" again,complaint,', Reason.BAD_FORMAT, "not CSV"),
        (b"e1,\xff,complaint,", Reason.NOT_UTF8, ""),
        (b"e1,,complaint,", Reason.EMPTY_TEXT, "text"),
        (b"e1,late again,,", Reason.EMPTY_LABEL, "label"),
        (b"e1,late again,complaint,noon", Reason.BAD_TIMESTAMP, "timestamp"),
    ],
)
def test_what_is_no_row_of_its_columns_is_refused(value: bytes, reason: Reason, detail: str) -> None:
    reader = Decoder(CSV)
    assert reader.decode(make_record(value)) is reason
    assert reader.detail(make_record(value), reason) == detail


def test_a_value_may_be_all_of_the_text() -> None:
    reader = Decoder(Events(format="text", fields=Fields(label="header:class", id="key")))
    found = event("spät: {".encode(), reader, key=b"e1", headers=[("class", b"complaint")])
    assert (found.text, found.label, found.id) == ("spät: {", "complaint", "e1")
    assert decoded(b"\xff", reader, headers=[("class", b"complaint")]) is Reason.NOT_UTF8
    assert decoded(b"late again", reader) is Reason.MISSING_FIELD


def test_json_of_a_schema_registry_is_read_behind_its_prefix() -> None:
    reader = Decoder(Events(format="json_schema", fields=Fields(text="ticket.body")))
    value = json.dumps({"ticket": {"body": "late again"}, "label": 3}).encode()
    assert event(b"\0\0\0\0\7" + value, reader).label == 3
    assert decoded(value, reader) is Reason.BAD_FORMAT
    assert "wire format" in reader.detail(make_record(value), Reason.BAD_FORMAT)
    assert decoded(b"\0\0\0\0", reader) is Reason.BAD_FORMAT
    assert decoded(b"\0\0\0\0\7late again", reader) is Reason.NOT_JSON


OWN = """
def decode(record):
    words = record.value.decode().split("|")
    return {"text": words[1], "label": words[0], "more": {"id": record.key.decode()}}

def odd(record):
    return [record.value]

def surrogates(record):
    return {"text": "half of a pair: \\ud800", "label": "complaint"}

class Kept:
    @staticmethod
    def decode(record):
        return {"text": "late again", "label": "complaint", "id": object()}
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's, which can be imported."""
    name = f"own_shapes_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_function_of_the_users_reads_a_record_and_what_it_raises_refuses_it(own_module: str) -> None:
    reader = Decoder(Events(decoder=f"{own_module}:decode", fields=Fields(id="more.id")))
    found = event(b"complaint|late again", reader, key=b"e1")
    assert (found.text, found.label, found.id) == ("late again", "complaint", "e1")
    assert decoded(b"late again", reader, key=b"e1") is Reason.DECODER
    detail = reader.detail(make_record(b"late again", key=b"e1"), Reason.DECODER)
    assert detail == f"IndexError in decode, {own_module}.py line 4"
    assert reader.decode(make_record(None)) is Reason.TOMBSTONE


@pytest.mark.parametrize(
    ("function", "reason", "detail"),
    [
        ("odd", Reason.DECODER, "it returned list, and no mapping"),
        ("surrogates", Reason.NOT_UTF8, "text"),
        ("Kept.decode", Reason.WRONG_TYPE, "id"),
    ],
)
def test_what_a_function_of_the_users_returns_is_looked_at_like_anything_else(
    own_module: str, function: str, reason: Reason, detail: str
) -> None:
    reader = Decoder(Events(decoder=f"{own_module}:{function}"))
    assert decoded(b"x", reader) is reason
    assert reader.detail(make_record(b"x"), reason) == detail


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        ("no_such_module:decode", "cannot be imported .*PYTHONPATH"),
        ("own:nothing", "has no function nothing"),
        ("own:OWN", "has no function OWN"),
    ],
)
def test_a_function_that_is_not_there_is_said_before_anything_is_read(own_module: str, decoder: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Decoder(Events(decoder=decoder.replace("own:", f"{own_module}:")))


def test_what_is_told_of_a_record_names_places_and_lengths_and_no_text() -> None:
    reader = decoder(text=["title", "body"], label="header:class")
    value = json.dumps({"title": "late", "body": "again and again", "at": 5, "text": "hunter2"}).encode()
    told = looked_at(make_record(value, offset=7, headers=[("class", b"complaint")]), reader)
    assert (told.offset, told.reason, told.detail) == (7, None, "")
    assert told.found == {
        "text": "at title and body: 20 characters",
        "label": "at header:class: 'complaint'",
        "id": "not found",
        "timestamp": "Kafka's: 2023-11-14T22:13:20+00:00",
    }
    refused = looked_at(make_record(value), reader)
    assert (refused.reason, refused.detail, refused.found["label"]) == (Reason.MISSING_FIELD, "label", "not found")
    assert refused.value == "JSON object of title, body, at, text"
    assert "again" not in repr(told) + repr(refused)
    assert "hunter2" not in repr(told) + repr(refused)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        (b"{}", "empty JSON object"),
        (b"[1]", "JSON, and no object (list)"),
        (b"late again", "10 bytes of text that is not JSON"),
        (b"\xff", "1 bytes that are not text"),
        (b"\0\0\0\1\0{}", "7 bytes in the wire format of a schema registry, schema 256"),
        (
            json.dumps({"x" * 40: 1} | dict.fromkeys(map(str, range(20)))).encode(),
            "JSON object of " + "x" * 32 + "…, 0",
        ),
    ],
)
def test_a_value_that_is_no_event_is_told_by_what_it_is_like(value: bytes | None, said: str) -> None:
    assert looked_at(make_record(value), Decoder(Events())).value.startswith(said)


def test_where_fields_stand_is_among_what_decides_theta() -> None:
    config = load(overrides=["events.fields={text: [title, body], label: header:class}"])
    assert config.decisive()["events"]["fields"]["text"] == ["title", "body"]
    assert config.digest() != load().digest()
    assert Config.model_validate(config.model_dump() | config.decisive()) == config
