"""Values in the wire format of Confluent's serializers: a zero byte, the schema's id in four bytes, and the payload.

References
----------
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format

"""

from __future__ import annotations

from typing import Any

from streamlearn.consumer.decoding import json_value
from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.events import Reason
from streamlearn.records import Record

MAGIC, PREFIX = b"\0", 5  # bytes


def schema_id(value: bytes) -> int | None:
    """Return the id of the schema that `value` refers to, or None if it is not in this format."""
    return int.from_bytes(value[1:PREFIX], "big") if value[:1] == MAGIC and len(value) >= PREFIX else None


def unframed(value: bytes) -> tuple[int, bytes]:
    """Return the schema id of `value`, and the payload; RefusedError if it is not in this format."""
    identity = schema_id(value)
    if identity is None:
        raise RefusedError(Reason.BAD_FORMAT, "not in the wire format of a schema registry")
    return identity, value[PREFIX:]


def json_schema_tree(record: Record) -> Any:
    """Return the JSON in the value of `record` as plain values; reading it does not need the schema."""
    return json_value.parsed(unframed(record.value or b"")[1])
