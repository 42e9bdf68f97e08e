"""Parses the records of the dead-letter topic: letters, and receipts of those that were redriven.

A letter contains the refused record in the format of :mod:`~streamlearn.consumer.letter`. A receipt says that the
record of a letter was sent to the topic of events again. Its key is the position of that record, it has no value, and
its headers are:

``redriven``
    The position of the refused record: ``tickets/0/4711``.
``timestamp``
    Its timestamp in milliseconds, as in the letter, because a re-created topic reuses its offsets.
"""

from __future__ import annotations

import msgspec

from streamlearn.consumer.letter import PREFIX
from streamlearn.records import DeadLetter, HeaderName, Origin, Record

REASON, REDRIVEN, REDRIVEN_FROM = f"{PREFIX}reason", f"{PREFIX}redriven", f"{PREFIX}redriven_from"

Headers = list[tuple[str, bytes]]


def opened(record: Record) -> DeadLetter | Origin | None:
    """Return the letter in a `record` of the dead-letter topic, or the origin in a receipt; None if it is neither."""
    headers = [(name, value or b"") for name, value in record.headers]
    names = [name for name, _ in headers]
    try:
        if REASON in names:
            begin = len(names) - 1 - names[::-1].index(REASON)
            ours = {name.removeprefix(PREFIX): value.decode() for name, value in headers[begin:]}
            return _letter(record, headers[:begin], ours)
        if REDRIVEN in names:
            told = dict(headers)
            return _origin(told[REDRIVEN].decode(), told[f"{PREFIX}timestamp"].decode())
    except (
        KeyError,
        ValueError,
        RecursionError,
        msgspec.MsgspecError,
    ):  # another program's record, whose headers look like ours
        pass
    return None


def _letter(letter: Record, own: Headers, ours: dict[str, str]) -> DeadLetter:
    nulls = msgspec.json.decode(ours.get("null_headers", "{}"), type=dict[int, str])
    named = msgspec.json.decode(ours.get("raw_header_names", "{}"), type=dict[int, str])
    raw = {number: bytes.fromhex(name) for number, name in named.items()}
    headers = [
        (_name(name, raw.get(number)), None if number in nulls else value) for number, (name, value) in enumerate(own)
    ]
    value = None if "null_value" in ours or "stub" in ours else letter.value
    timestamp = ours["timestamp"]
    return DeadLetter(
        record=Record(
            ours["topic"],
            int(ours["partition"]),
            int(ours["offset"]),
            None if timestamp == "None" else int(timestamp),
            None if "key_length" in ours else letter.key,
            value,
            list(headers),
        ),
        partition=letter.partition,
        offset=letter.offset,
        reason=ours["reason"],
        detail=ours.get("detail", ""),
        refused_at=int(ours["refused_at"]),
        stub=ours.get("stub", ""),
        value_length=int(ours.get("value_length", -1 if value is None else len(value))),
    )


def _name(name: str, raw: bytes | None) -> str:
    if raw is None:
        return name
    whole = HeaderName(name)
    whole.raw = raw
    return whole


def _origin(place: str, timestamp: str) -> Origin:
    topic, partition, offset = place.rsplit("/", 2)
    return Origin(topic, int(partition), int(offset), None if timestamp == "None" else int(timestamp))


def receipt(letter: DeadLetter) -> tuple[bytes, Headers]:
    """Return key and headers of the receipt of `letter`."""
    origin = letter.origin
    return str(origin).encode(), [
        (REDRIVEN, str(origin).encode()),
        (f"{PREFIX}timestamp", str(origin.timestamp).encode()),
    ]


def as_it_came(letter: DeadLetter) -> tuple[bytes | None, bytes | None, Headers]:
    """Return key, value and headers with which the record of `letter` is sent again, marked with its old position.

    The mark is the header ``streamlearn.redriven_from``. What kafka-python cannot write, null header values and names
    that are not UTF-8, is sent as in the letter: empty, or escaped.
    """
    record = letter.record
    own = [(str(name), value or b"") for name, value in record.headers if name != REDRIVEN_FROM]
    return record.key, record.value, [*own, (REDRIVEN_FROM, str(letter.origin).encode())]
