"""From a Kafka record to an event, or to the reason for which it is none.

Decoding is a pure function of the record and the configuration, so a record read again after a restart is
accepted or refused as it was before. Nothing in a payload is ever evaluated.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import msgspec

from streamlearn.config import Events
from streamlearn.events import LABELS_FROM, LABELS_TO, NAME_LIMIT, Event, Label, Reason
from streamlearn.records import Record, Withheld

MILLISECONDS_FROM = 1e11  # as seconds this is the year 5138, as milliseconds 1973
SECONDS_TO = 4_102_444_800.0  # the year 2100. Not the clock: a record must be decoded alike at any time. Microseconds
# and nanoseconds lie far beyond it: they are refused, because guessing a unit would hide what the producer does.
MOST_NESTED = 500  # the JSON decoder's own limit depends on its caller's stack, and so on who decodes
BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


class Decoder:
    """Decodes the JSON object of an event, whose field names are configurable.

    Parameters
    ----------
    config
        Field names, the limit on the text, and the closed set of labels if there is one.

    Examples
    --------
    >>> decode = Decoder(Events()).decode
    >>> value = b'{"text": "late again", "label": "complaint"}'
    >>> decode(Record("t", 0, 7, 1_700_000_000_000, None, value, [])).id
    't/0/7'
    >>> decode(Record("t", 0, 8, 1_700_000_000_000, None, b'{"text": "late again"}', []))
    <Reason.MISSING_FIELD: 'missing_field'>

    """

    def __init__(self, config: Events) -> None:
        fields = config.fields
        self._wire: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct(
                "WireEvent",
                [
                    ("text", str),
                    ("label", str | int),
                    ("id", str | int | None, None),
                    ("timestamp", float | datetime | None, None),
                ],
                rename={"text": fields.text, "label": fields.label, "id": fields.id, "timestamp": fields.timestamp},
                gc=False,
            )
        )
        self._document = msgspec.json.Decoder(msgspec.Raw)
        self._timestamp_path = f"$.{fields.timestamp}"
        self._limit = config.max_text_characters
        self._closed = None if config.labels == "discover" else frozenset(config.labels)
        self._label_type = None if config.labels == "discover" else type(config.labels[0])

    def decode(self, record: Record) -> Event | Reason:
        """Return the event in `record`, or why there is none."""
        value = record.value
        if value is None or isinstance(value, Withheld):
            return value.reason if value is not None else Reason.TOMBSTONE
        try:
            if not value.isascii():
                value.decode()  # the JSON decoder leaves unknown fields unread
            if len(value) > 2 * MOST_NESTED:
                _check_nesting(value)
            wire = self._wire.decode(value)
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
            return self._refusal(value, error)
        text, label, topic, partition, offset = wire.text, wire.label, record.topic, record.partition, record.offset
        timestamp = _seconds(wire.timestamp) if wire.timestamp is not None else _kafkas_seconds(record.timestamp)
        if timestamp is None:
            return Reason.BAD_TIMESTAMP
        identity = "" if wire.id is None else str(wire.id)
        reason = self._objection(text, label, identity)
        if reason:
            return reason
        if not identity or identity.isspace():
            return Event(text, label, f"{topic}/{partition}/{offset}", timestamp, topic, partition, offset, None, False)
        return Event(text, label, identity, timestamp, topic, partition, offset)

    def _objection(self, text: str, label: Label, identity: str) -> Reason | None:  # noqa: PLR0911 - one for each reason
        if len(text) > self._limit:
            return Reason.TEXT_TOO_LONG
        if not text or text.isspace():
            return Reason.EMPTY_TEXT
        if len(identity) > NAME_LIMIT:
            return Reason.FIELD_TOO_LONG
        if isinstance(label, str):
            if len(label) > NAME_LIMIT:
                return Reason.FIELD_TOO_LONG
            if not label or label.isspace():
                return Reason.EMPTY_LABEL
        elif not LABELS_FROM <= label <= LABELS_TO:
            return Reason.FIELD_TOO_LONG
        if self._closed is not None and label not in self._closed:
            return Reason.UNKNOWN_LABEL if type(label) is self._label_type else Reason.LABEL_TYPE
        return None

    def _refusal(self, value: bytes, error: Exception) -> Reason:
        """Return why `value` has no fields; the decoder stops at the first misfit, and what follows may be no JSON."""
        if isinstance(error, UnicodeDecodeError):
            return Reason.NOT_UTF8
        try:
            self._document.decode(value)
            is_json = isinstance(error, msgspec.ValidationError)
        except (msgspec.DecodeError, RecursionError):
            is_json = False
        if not is_json:
            return Reason.NOT_JSON
        message = str(error)
        if message.startswith("Object missing required field"):
            return Reason.MISSING_FIELD
        if message.endswith(f"`{self._timestamp_path}`"):
            return Reason.BAD_TIMESTAMP
        return Reason.FIELD_TOO_LONG if message.startswith("Integer value out of range") else Reason.WRONG_TYPE


def _check_nesting(value: bytes) -> None:
    """Raise RecursionError where lists and objects of `value` are nested too deeply, whatever stands in its strings."""
    if value.count(b"[") + value.count(b"{") <= MOST_NESTED:
        return
    depth = 0
    for token in BRACKETS.finditer(value):
        first = value[token.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MOST_NESTED:
            raise RecursionError


def _seconds(timestamp: float | datetime) -> float | None:
    """Return Unix seconds, None where they cannot be told or lie before 1970 or after 2099.

    A time without a zone is UTC.
    """
    if isinstance(timestamp, datetime):
        try:
            seconds = (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=timezone.utc)).timestamp()
        except (OverflowError, ValueError):
            return None
    else:
        seconds = timestamp / 1000.0 if timestamp >= MILLISECONDS_FROM else timestamp
    return seconds if 0.0 <= seconds < SECONDS_TO else None


def _kafkas_seconds(milliseconds: int | None) -> float:
    """Return Kafka's own time in Unix seconds, 0 where it has none: what a broker writes is no fault of the event."""
    seconds = (milliseconds or 0) / 1000.0
    return seconds if 0.0 <= seconds < SECONDS_TO else 0.0
