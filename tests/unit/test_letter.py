from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamlearn.consumer.letter import Form, size, write
from streamlearn.events import Reason
from streamlearn.records import Record

MAYBE = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.text(max_size=8), MAYBE), max_size=6)


def a_record(value: bytes | None, key: bytes | None, headers: list[Any]) -> Record:
    return Record("tickets", 3, 17, -1, key, value, headers)


@given(value=MAYBE, key=MAYBE, headers=HEADERS)
def test_from_a_letter_the_record_can_be_told_in_every_bit(
    value: bytes | None, key: bytes | None, headers: list[Any]
) -> None:
    letter = write(a_record(value, key, headers), Reason.NOT_JSON)
    own, ours = letter.headers[: len(headers)], dict(letter.headers[len(headers) :])
    nulls = {int(number) for number in json.loads(ours.get("streamlearn.null_headers", "{}"))}
    assert [(name, None if n in nulls else held) for n, (name, held) in enumerate(own)] == headers
    assert letter.key == key
    assert (None if "streamlearn.null_value" in ours else letter.value) == value
    assert next(iter(ours)) == "streamlearn.reason"
    assert ours["streamlearn.offset"] == b"17"


@given(value=MAYBE, key=MAYBE, headers=HEADERS, form=st.sampled_from(Form))
def test_kafka_python_takes_every_letter(
    value: bytes | None, key: bytes | None, headers: list[Any], form: Form
) -> None:
    letter = write(a_record(value, key, headers), Reason.NOT_JSON, form, refusal="MessageSizeTooLargeError")
    assert letter.key is not None or letter.value is not None
    assert all(type(name) is str and type(held) is bytes for name, held in letter.headers)


def test_a_stub_holds_a_digest_in_place_of_what_it_leaves_out() -> None:
    record = a_record(b"x" * 10_000, b"key", [("h", b"y" * 10_000)])
    stub = write(record, Reason.NOT_JSON, Form.STUB, refusal="MessageSizeTooLargeError")
    bare = write(record, Reason.NOT_JSON, Form.BARE, refusal="MessageSizeTooLargeError")
    assert (stub.key, stub.value) == (b"key", None)
    assert (bare.key, bare.value) == (b"tickets/3/17", None)
    assert dict(stub.headers)["streamlearn.value_length"] == b"10000"
    assert dict(bare.headers)["streamlearn.key_length"] == b"3"
    assert all(sum(len(name) + len(held) for name, held in letter.headers) < 600 for letter in (stub, bare))


def test_what_the_reason_is_about_stands_behind_it() -> None:
    for form in Form:
        letter = write(a_record(b"{}", None, []), Reason.MISSING_FIELD, form, detail="label")
        assert letter.headers[:2] == [("streamlearn.reason", b"missing_field"), ("streamlearn.detail", b"label")]


def test_the_size_of_a_record_counts_key_value_and_headers() -> None:
    assert size(a_record(b"1234", b"12", [("abc", b"12345"), ("a", None)])) == 4 + 2 + 3 + 5 + 1
    assert size(a_record(None, None, [])) == 0
