"""What ``check --sample`` shows of a record: what would happen to it and where its fields were found, but no text."""

from __future__ import annotations

from datetime import UTC, datetime

from streamlearn.consumer.decode import Decoder
from streamlearn.consumer.decoding import json_value
from streamlearn.consumer.decoding.fields import FIELDS, RefusedError
from streamlearn.consumer.decoding.framed import schema_id
from streamlearn.events import Event
from streamlearn.records import Record, Withheld
from streamlearn.source import Sampled

SHOWN = 32  # characters of a label or an id; a text mistaken for one is longer
MOST_NAMES = 12


def looked_at(record: Record, decoder: Decoder) -> Sampled:
    """Return how `decoder` decodes `record`, and where the fields are."""
    outcome = decoder.decode(record)
    event = outcome if isinstance(outcome, Event) else None
    reason = None if isinstance(outcome, Event) else outcome
    return Sampled(
        partition=record.partition,
        offset=record.offset,
        reason=reason,
        detail="" if reason is None else decoder.detail(record, reason),
        found=_fields(record, decoder, event),
        value=_like(record.value),
    )


def _fields(record: Record, decoder: Decoder, event: Event | None) -> dict[str, str]:
    """Return where each field is in `record`, and its value in an `event`."""
    if record.value is None or isinstance(record.value, Withheld):
        return {}
    try:
        places = decoder.where(record)
    except RefusedError:
        return {}
    found = {}
    for field in FIELDS:
        at = f"at {' and '.join(places[field])}" if places[field] else "not found"
        found[field] = f"{at}: {_what(field, event)}" if event and places[field] else at
    if event and not places["timestamp"]:
        found["timestamp"] = f"Kafka's: {_what('timestamp', event)}"
    return found


def _what(field: str, event: Event) -> str:
    if field == "text":
        return f"{len(event.text)} characters"
    if field == "timestamp":
        return datetime.fromtimestamp(event.timestamp, UTC).isoformat(timespec="seconds")
    given = event.label if field == "label" else event.id
    return repr(given) if len(str(given)) <= SHOWN else f"{len(str(given))} characters"


def _like(value: bytes | None) -> str:
    """Return a description of `value`, with the names of an object's fields but none of their contents."""
    if value is None:
        return "null"
    if isinstance(value, Withheld):
        return f"{value.length} bytes that were not taken into memory"
    schema = schema_id(value)
    if schema is not None:
        return f"{len(value)} bytes in the wire format of a schema registry, schema {schema}"
    try:
        tree = json_value.parsed(value)
    except RefusedError:
        return (
            f"{len(value)} bytes of text that is not JSON"
            if _is_text(value)
            else f"{len(value)} bytes that are not text"
        )
    if not isinstance(tree, dict):
        return f"JSON, and no object ({type(tree).__name__})"
    names = [_short(name) for name in tree][:MOST_NAMES]
    return (
        f"JSON object of {', '.join(names)}{' and more' if len(tree) > MOST_NAMES else ''}"
        if tree
        else "empty JSON object"
    )


def _short(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
