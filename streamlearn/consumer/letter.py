"""The format of a dead letter: the refused record as it came, with the reason and the source in extra headers.

Our headers start at the last ``streamlearn.reason``; those before it are the record's own.

``reason``
    Why it was refused.
``detail``
    The field that the reason concerns, if any.
``topic``, ``partition``, ``offset``, ``timestamp``
    Where the record is, and its timestamp in milliseconds.
``refused_at``
    When this letter was written, in milliseconds.

kafka-python cannot write a null header value, a header name that is not UTF-8, or a record with a null key and a null
value. Such a null becomes an empty value, such a name is escaped, and the letter says so:

``null_headers``
    Which of the record's headers had a null value, counted from 0: ``{"0": "name"}``.
``raw_header_names``
    The bytes of names that are not UTF-8, in hexadecimal: ``{"0": "ff61"}``.
``null_value``
    ``true``: the value was null, as the key is.

If Kafka refuses the record itself, or it was too large for memory or unreadable when it came, the letter is a *stub*:
without value and headers, and with its key only if that fits.

``stub``
    The name of Kafka's error, or the reason again.
``value_length``, ``value_sha256``
    Bytes of the value, -1 if it was null, and their digest in hexadecimal.
``key_length``, ``key_sha256``
    The same of the key, if the letter's key is the record's position instead.
``headers_left_out``
    How many headers the record had.
"""

from __future__ import annotations

import hashlib
import json
import time
from enum import IntEnum
from typing import NamedTuple

from streamlearn.events import Reason
from streamlearn.records import HeaderName, Record, Withheld

PREFIX = "streamlearn."

Headers = list[tuple[str, bytes]]


class Form(IntEnum):
    """How much of the record a letter holds, the most first."""

    WHOLE = 0
    STUB = 1
    """Its key, and digests of the rest."""
    BARE = 2
    """Only digests; the key is the record's position, since a compacted topic requires one."""


class Letter(NamedTuple):
    """What is sent."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def size(record: Record) -> int:
    """Return the bytes of the key, the value and the headers of `record`."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers or ())
    return len(record.key or b"") + len(record.value or b"") + headers


def write(record: Record, reason: Reason, form: Form = Form.WHOLE, *, detail: str = "", refusal: str = "") -> Letter:
    """Return the letter of `record` in `form`.

    Parameters
    ----------
    record
        What was refused.
    reason
        Why it was refused.
    form
        How much of it the letter holds.
    detail
        What the reason concerns.
    refusal
        Kafka's error because of which the letter is not the whole record.

    """
    ours = {
        "reason": reason.value,
        **({"detail": detail} if detail else {}),
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
        "refused_at": str(int(time.time() * 1000)),
    }
    if form is Form.WHOLE and isinstance(record.value, Withheld):
        form, refusal = Form.STUB, reason.value
    if form is Form.WHOLE:
        return _whole(record, ours)
    ours |= {"stub": refusal, **_digest("value", record.value)}
    key, value = record.key, None if record.key is not None else b""
    if form is Form.BARE:
        ours |= _digest("key", record.key)
        key, value = f"{record.topic}/{record.partition}/{record.offset}".encode(), None
    if record.headers:
        ours["headers_left_out"] = str(len(record.headers))
    return Letter(key, value, _headers(ours))


def _whole(record: Record, ours: dict[str, str]) -> Letter:
    own = list(record.headers or ())
    nulls = {number: name for number, (name, value) in enumerate(own) if value is None}
    names = {number: name.raw.hex() for number, (name, _) in enumerate(own) if isinstance(name, HeaderName)}
    if nulls:
        ours["null_headers"] = json.dumps(nulls)
    if names:
        ours["raw_header_names"] = json.dumps(names)
    value = record.value
    if value is None and record.key is None:
        ours["null_value"], value = "true", b""
    return Letter(record.key, value, [*((str(name), held or b"") for name, held in own), *_headers(ours)])


def _headers(ours: dict[str, str]) -> Headers:
    return [(f"{PREFIX}{name}", value.encode()) for name, value in ours.items()]


def _digest(name: str, content: bytes | None) -> dict[str, str]:
    if content is None:
        return {f"{name}_length": "-1"}
    if isinstance(content, Withheld):
        return {f"{name}_length": str(content.length), f"{name}_sha256": content.sha256}
    return {f"{name}_length": str(len(content)), f"{name}_sha256": hashlib.sha256(content).hexdigest()}
