from __future__ import annotations

from typing import Any

import pytest
from kafka.errors import (
    InvalidRecordError,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)

from streamlearn.consumer.dead_letters import MOST_PENDING, MOST_PENDING_BYTES, DeadLetters
from streamlearn.consumer.letter import Form
from streamlearn.errors import UnforeseenError
from streamlearn.events import Reason
from streamlearn.records import Record


def a_record(key: bytes | None = None, headers: tuple[tuple[str, bytes | None], ...] = ()) -> Record:
    return Record("tickets", 0, 17, 0, key, None, list(headers))


def idle() -> DeadLetters:
    """Dead letters that nobody sends."""
    return DeadLetters(lambda **_: None, "dead", refused=lambda _: None)


@pytest.mark.parametrize(
    "record", [a_record(bytes(2**20)), a_record(headers=(("h", bytes(2**19)), ("i", bytes(2**19))))]
)
def test_consumption_stops_at_so_many_bytes_of_keys_and_headers_too(record: Any) -> None:
    letters = idle()
    for _ in range(MOST_PENDING_BYTES // 2**20 - 1):
        letters.put(record, Reason.TOMBSTONE)
    assert not letters.blocked
    letters.put(record, Reason.TOMBSTONE)
    assert letters.blocked


def test_consumption_stops_at_so_many_letters_however_small() -> None:
    letters = idle()
    for _ in range(MOST_PENDING):
        assert not letters.blocked
        letters.put(a_record(b"k"), Reason.TOMBSTONE)
    assert letters.blocked


def test_not_more_than_so_many_bytes_are_sent_at_once() -> None:
    letters = idle()
    for _ in range(40):
        letters.put(a_record(bytes(2**20)), Reason.TOMBSTONE)
    assert len(letters._next()) == 16


def test_only_what_concerns_the_record_makes_it_a_stub_and_at_last_it_is_tried_whole_again() -> None:
    letters = idle()
    letters.put(a_record(b"k"), Reason.TOMBSTONE)
    (pending,) = letters._next()
    for passes in (KafkaConnectionError(), TopicAuthorizationFailedError(), OSError()):
        assert not letters._of_the_record(pending, passes)
        assert (pending.form, pending.alone) == (Form.WHOLE, False)
    assert letters._of_the_record(pending, MessageSizeTooLargeError())  # of its batch, perhaps
    assert (pending.form, pending.alone) == (Form.WHOLE, True)
    assert letters._of_the_record(pending, MessageSizeTooLargeError())
    assert letters._of_the_record(pending, InvalidRecordError())
    assert (pending.form, pending.refusal) == (Form.BARE, "MessageSizeTooLargeError")
    assert not letters._of_the_record(pending, InvalidRecordError())
    assert pending.form is Form.WHOLE


def test_what_is_raised_while_sending_ends_the_wait_for_it() -> None:
    def no_producer(**_: Any) -> Any:
        raise LookupError

    letters = DeadLetters(no_producer, "dead", refused=lambda _: None)
    letters.start()
    letters.put(a_record(b"k"), Reason.TOMBSTONE)
    assert not letters.settle(60)
    assert isinstance(letters.failed, UnforeseenError)
    letters.stop()
