"""From a Kafka record to an event, or to the reason for which it is none.

Decoding is a pure function of the record and the configuration, so a record read again after a restart is
accepted or refused as it was before. Nothing in a payload is ever evaluated.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import msgspec

from streamlearn.config import Events
from streamlearn.events import Event, Label, Reason

NAME_LIMIT = 512  # characters of a label or an id: they are remembered, and must not crowd out what matters
MILLISECONDS_FROM = 1e11  # as seconds this is the year 5138, as milliseconds 1973


class Decoder:
    """Decodes the JSON object of an event, whose field names are configurable.

    Parameters
    ----------
    config
        Field names, the limit on the text, and the closed set of labels if there is one.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> decode = Decoder(Events()).decode
    >>> record = SimpleNamespace(topic="t", partition=0, offset=7, timestamp=1_700_000_000_000, value=None)
    >>> record.value = b'{"text": "late again", "label": "complaint"}'
    >>> decode(record).id
    't/0/7'
    >>> record.value = b'{"text": "late again"}'
    >>> decode(record)
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
        self._timestamp_path = f"$.{fields.timestamp}"
        self._limit = config.max_text_characters
        self._closed = None if config.labels == "discover" else frozenset(config.labels)
        self._label_type = None if config.labels == "discover" else type(config.labels[0])

    def decode(self, record: Any) -> Event | Reason:
        """Return the event in `record` (kafka-python's ``ConsumerRecord``), or why there is none."""
        value = record.value
        if value is None:
            return Reason.TOMBSTONE
        try:
            if not value.isascii():
                value.decode()  # the JSON decoder leaves unknown fields unread
            wire = self._wire.decode(value)
        except UnicodeDecodeError:
            return Reason.NOT_UTF8
        except msgspec.ValidationError as error:
            return self._invalid(str(error))
        except (msgspec.DecodeError, RecursionError):
            return Reason.NOT_JSON
        text, label, topic, partition, offset = wire.text, wire.label, record.topic, record.partition, record.offset
        identity = str(wire.id) if wire.id is not None else f"{topic}/{partition}/{offset}"
        timestamp = _seconds(wire.timestamp) if wire.timestamp is not None else record.timestamp / 1000.0
        if timestamp is None:
            return Reason.BAD_TIMESTAMP
        reason = self._objection(text, label, identity)
        return reason or Event(text, label, identity, timestamp, topic, partition, offset)

    def _objection(self, text: str, label: Label, identity: str) -> Reason | None:
        if len(text) > self._limit:
            return Reason.TEXT_TOO_LONG
        if not text or text.isspace():
            return Reason.EMPTY_TEXT
        if len(identity) > NAME_LIMIT or len(str(label)) > NAME_LIMIT:
            return Reason.FIELD_TOO_LONG
        if label == "":
            return Reason.EMPTY_LABEL
        if self._closed is not None and label not in self._closed:
            return Reason.UNKNOWN_LABEL if type(label) is self._label_type else Reason.LABEL_TYPE
        return None

    def _invalid(self, message: str) -> Reason:
        if "missing required field" in message:
            return Reason.MISSING_FIELD
        return Reason.BAD_TIMESTAMP if message.endswith(f"`{self._timestamp_path}`") else Reason.WRONG_TYPE


def _seconds(timestamp: float | datetime) -> float | None:
    """Return Unix seconds, None where they cannot be told; a time without a zone is UTC."""
    if isinstance(timestamp, datetime):
        try:
            return (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=timezone.utc)).timestamp()
        except (OverflowError, ValueError):
            return None
    return timestamp / 1000.0 if timestamp >= MILLISECONDS_FROM else timestamp
