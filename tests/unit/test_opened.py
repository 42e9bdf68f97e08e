from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlearn.cli.dead_letters import _row
from streamlearn.commands.dead_letters import Newest, moment, redriven, shown
from streamlearn.config import load
from streamlearn.consumer.letter import Form, write
from streamlearn.consumer.opened import as_it_came, opened, receipt
from streamlearn.consumer.redrive import Redriven, _Redriving
from streamlearn.errors import ConfigurationError
from streamlearn.events import Reason
from streamlearn.records import DeadLetter, Origin, Record, Withheld, header_name

MAYBE = st.none() | st.binary(max_size=40)
NAMES = st.text(max_size=8) | st.binary(max_size=8).map(header_name)
HEADERS = st.lists(st.tuples(NAMES, MAYBE), max_size=6)


def stored(key: bytes | None, value: bytes | None, headers: list[Any]) -> Record:
    """What Kafka hands over of what was sent to the dead-letter topic."""
    return Record("tickets.dead-letters", 1, 5, 1_700_000_000_000, key, value, headers)


def read_back(record: Record, form: Form = Form.WHOLE, **about: Any) -> DeadLetter:
    found = opened(stored(*write(record, Reason.MISSING_FIELD, form, **about)))
    assert isinstance(found, DeadLetter)
    return found


@given(value=MAYBE, key=MAYBE, headers=HEADERS, timestamp=st.none() | st.integers(-1, 2**62))
def test_a_letter_that_is_read_back_tells_the_record_in_every_bit(
    value: bytes | None, key: bytes | None, headers: list[Any], timestamp: int | None
) -> None:
    record = Record("tickets", 3, 17, timestamp, key, value, headers)
    letter = read_back(record, detail="label")
    assert letter.record == record
    raw = [getattr(name, "raw", None) for name, _ in headers]
    assert [getattr(name, "raw", None) for name, _ in letter.record.headers] == raw
    assert (letter.why, letter.stub, letter.partition, letter.offset) == ("missing_field: label", "", 1, 5)
    assert str(letter.origin) == "tickets/3/17"
    assert letter.value_length == (-1 if value is None else len(value))


@pytest.mark.parametrize("form", [Form.STUB, Form.BARE])
def test_a_stub_says_that_it_does_not_hold_the_record(form: Form) -> None:
    letter = read_back(Record("t", 0, 1, 0, b"key", b"x" * 99, []), form, refusal="MessageSizeTooLargeError")
    assert (letter.stub, letter.value_length) == ("MessageSizeTooLargeError", 99)
    assert letter.record.key == (b"key" if form is Form.STUB else None)
    withheld = Withheld.of(Reason.RECORD_TOO_LARGE, length=10**8, sha256="00")
    assert read_back(Record("t", 0, 1, 0, None, withheld, [])).stub == "missing_field"  # the reason again


def test_headers_of_the_record_that_look_like_ours_are_its_own() -> None:
    own = [("streamlearn.reason", b"fine"), ("streamlearn.redriven", b"t/0/1"), ("streamlearn.stub", b"yes")]
    letter = read_back(Record("t", 0, 1, 0, None, b"{}", list(own)))
    assert (letter.record.headers, letter.reason, letter.stub) == (own, "missing_field", "")


def test_a_receipt_names_the_record_and_is_no_letter() -> None:
    letter = read_back(Record("odd/topic", 2, 8, None, None, b"{}", []))
    key, headers = receipt(letter)
    assert opened(stored(key, None, headers)) == letter.origin == Origin("odd/topic", 2, 8, None)


LETTER = [
    *(("streamlearn.reason", b"not_json"), ("streamlearn.topic", b"t"), ("streamlearn.partition", b"0")),
    *(("streamlearn.offset", b"1"), ("streamlearn.timestamp", b"0"), ("streamlearn.refused_at", b"0")),
]


def test_so_much_makes_a_letter() -> None:
    assert isinstance(opened(stored(b"k", b"v", LETTER)), DeadLetter)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("other", b"1")],
        [("streamlearn.reason", b"not_json")],
        [("streamlearn.reason", b"\xff")],
        *(
            [*LETTER, ("streamlearn.null_headers", odd)]
            for odd in (b"5", b"[null]", b"[[1]]", b"[Infinity]", b"[" * 9999)
        ),
        *([*LETTER, ("streamlearn.raw_header_names", odd)] for odd in (b"[]", b"null", b'{"0": 5}', b'{"0": "x"}')),
        [("streamlearn.redriven", b"t/0/x"), ("streamlearn.timestamp", b"0")],
        [("streamlearn.redriven", b"t/0/1")],
    ],
)
def test_what_somebody_else_has_written_is_neither_letter_nor_receipt(headers: list[Any]) -> None:
    assert opened(stored(b"k", b"v", headers)) is None


def test_a_record_is_sent_again_as_it_came_with_one_mark_that_says_where_it_stood() -> None:
    headers = [("trace", b"1"), ("streamlearn.redriven_from", b"t/0/1"), ("null", None), (header_name(b"\xff"), b"2")]
    letter = read_back(Record("t", 0, 9, 0, b"key", b"{}", headers))
    assert as_it_came(letter) == (
        b"key",
        b"{}",
        [("trace", b"1"), ("null", b""), ("\\xff", b"2"), ("streamlearn.redriven_from", b"t/0/9")],
    )


def test_since_is_a_span_or_a_time() -> None:
    assert moment("90m", now=lambda: 10_000.0) == 4_600_000
    assert moment("7d", now=lambda: 10.0) == 0
    assert moment("2026-11-26T09:30:00Z") == moment("2026-11-26T10:30:00+01:00") == 1_795_685_400_000
    for odd in ("soon", "", "5", "9" * 30 + "d", "-2h"):
        with pytest.raises(ConfigurationError, match="neither a span such as 30m"):
            moment(odd)


def test_a_reason_or_a_place_that_there_cannot_be_is_told_before_kafka_is_asked() -> None:
    config = load(overrides=["kafka.bootstrap_servers=127.0.0.1:1"])
    with pytest.raises(ConfigurationError, match="did you mean 'missing_field'"):
        redriven(config, [], reason="missing_fild: label")
    for odd in ("tickets", "tickets/0", "tickets/x/1", "tickets/0/1/2"):
        with pytest.raises(ConfigurationError, match="is not TOPIC/PARTITION/OFFSET"):
            shown(config, odd)


def test_nothing_is_redriven_to_a_learner_that_reads_what_was_not_committed() -> None:
    config = load(overrides=["kafka.client={isolation_level: read_uncommitted}"])
    with pytest.raises(ConfigurationError, match="'read_committed' is needed to redrive"):
        redriven(config, [])


def letter(refused_at: int, offset: int = 1, **parts: Any) -> DeadLetter:
    record = Record("tickets", 0, offset, 0, None, b'{"text": "ham", "label": "a"}', parts.pop("headers", []))
    stub = parts.get("stub", "")
    if stub:
        record = msgspec.structs.replace(record, value=None)
    return DeadLetter(record, parts.get("partition", 0), offset, "missing_field", "label", refused_at, stub, 29)


def test_the_newest_letters_are_those_refused_last_in_whatever_partition_they_stand() -> None:
    newest = Newest(3)
    for refused_at in (50, 70, 90, 10, 60, 80, 80):  # a partition of three, and one of four
        newest.add(letter(refused_at))
    assert [found.refused_at for found in newest.letters()] == [80, 80, 90]


class Topic:
    """What is read of a dead-letter topic."""

    def __init__(self, *found: DeadLetter | Origin | None) -> None:
        self.found = found

    def read(self) -> Iterator[DeadLetter | Origin | None]:
        yield from self.found


def due(*found: DeadLetter | Origin | None) -> tuple[list[DeadLetter], Redriven]:
    redriving = _Redriving(load(overrides=["kafka.topic=tickets"]), lambda _: True, lambda _: None, 1)
    return list(redriving._due(Topic(*found))), redriving.found


def test_a_stub_hides_no_letter_that_holds_the_record_wherever_that_stands() -> None:
    stub, whole = letter(1, stub="MessageSizeTooLargeError"), letter(2, partition=1)
    for order in ((stub, whole, stub), (whole, stub), (stub, stub, whole, whole)):
        found, counted = due(*order)
        assert (found, counted.not_held) == ([whole], [])
    assert due(stub, stub, None)[1].not_held == ["tickets/0/1"]
    found, counted = due(stub, whole, whole.origin)
    assert (found, counted.not_held, counted.before) == ([], [], 1)
    found, counted = due(stub, letter(2, offset=7))
    assert ([str(one.origin) for one in found], counted.not_held) == (["tickets/0/7"], ["tickets/0/1"])


def test_each_header_is_shown_where_several_have_the_same_name() -> None:
    headers = [("trace", b"1"), ("trace", b"2"), ("null", None)]
    row = _row(letter(1, headers=headers), redriven=False, values=True)
    assert row["headers"] == [["trace", "1"], ["trace", "2"], ["null", None]]
