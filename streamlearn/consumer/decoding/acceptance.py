"""Which fields make an acceptable event, whatever they were read from."""

from __future__ import annotations

from datetime import UTC, datetime

from streamlearn.config import Events
from streamlearn.events import LABELS_FROM, LABELS_TO, NAME_LIMIT, Event, Label, Reason
from streamlearn.records import Record

MILLISECONDS_FROM = 1e11  # as seconds this is the year 5138, as milliseconds 1973
SECONDS_TO = 4_102_444_800.0  # the year 2100. Not the current time: a record must be decoded alike at any time.
# Microseconds and nanoseconds are far beyond it: they are refused, because guessing a unit would hide what the producer
# does.

ABOUT = {
    Reason.EMPTY_TEXT: "text",
    Reason.TEXT_TOO_LONG: "text",
    Reason.EMPTY_LABEL: "label",
    Reason.UNKNOWN_LABEL: "label",
    Reason.LABEL_TYPE: "label",
    Reason.TOO_MANY_LABELS: "label",
    Reason.BAD_TIMESTAMP: "timestamp",
}
"""The field that a reason concerns, if the reason implies it."""


class Acceptance:
    """Makes an event from the fields of a record, unless one of them is not acceptable.

    Parameters
    ----------
    config
        The limit on the text, and the closed set of labels if there is one.
    labelled
        Whether an event has a label.

    """

    def __init__(self, config: Events, *, labelled: bool = True) -> None:
        self._labelled = labelled
        self._limit = config.max_text_characters
        self._closed = None if config.labels == "discover" else frozenset(config.labels)
        self._label_type = None if config.labels == "discover" else type(config.labels[0])

    def event(  # noqa: C901, PLR0911 - a branch for each reason, and no call for an event that is fine
        self, record: Record, text: str, label: Label, identifier: str | int | None, time: float | datetime | None
    ) -> Event | Reason:
        """Return the event with these fields, or the reason why they are refused."""
        topic, partition, offset = record.topic, record.partition, record.offset
        timestamp = _seconds(time) if time is not None else _kafkas_seconds(record.timestamp)
        if timestamp is None:
            return Reason.BAD_TIMESTAMP
        identity = "" if identifier is None else str(identifier)
        if len(text) > self._limit:
            return Reason.TEXT_TOO_LONG
        if not text or text.isspace():
            return Reason.EMPTY_TEXT
        if len(identity) > NAME_LIMIT:
            return Reason.FIELD_TOO_LONG
        if not self._labelled:
            pass
        elif isinstance(label, str):
            if len(label) > NAME_LIMIT:
                return Reason.FIELD_TOO_LONG
            if not label or label.isspace():
                return Reason.EMPTY_LABEL
        elif not LABELS_FROM <= label <= LABELS_TO:
            return Reason.FIELD_TOO_LONG
        if self._closed is not None and label not in self._closed:
            return Reason.UNKNOWN_LABEL if type(label) is self._label_type else Reason.LABEL_TYPE
        if not identity or identity.isspace():
            return Event(text, label, f"{topic}/{partition}/{offset}", timestamp, topic, partition, offset, None, False)
        return Event(text, label, identity, timestamp, topic, partition, offset)


def _seconds(timestamp: float | datetime) -> float | None:
    """Return Unix seconds, or None if `timestamp` is invalid or before 1970 or after 2099.

    A time without a zone is UTC.
    """
    if isinstance(timestamp, datetime):
        try:
            seconds = (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp()
        except (OverflowError, ValueError):
            return None
    else:
        seconds = timestamp / 1000.0 if timestamp >= MILLISECONDS_FROM else timestamp
    return seconds if 0.0 <= seconds < SECONDS_TO else None


def _kafkas_seconds(milliseconds: int | None) -> float:
    """Return Kafka's own timestamp in Unix seconds, 0 if it has none: the event is not to blame for the broker's."""
    seconds = (milliseconds or 0) / 1000.0
    return seconds if 0.0 <= seconds < SECONDS_TO else 0.0
