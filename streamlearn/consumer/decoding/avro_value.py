"""Values in Avro, preceded by the id of their schema in a registry."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from streamlearn.config.schema_registry import SchemaRegistry
from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.consumer.decoding.framed import unframed
from streamlearn.consumer.decoding.registry import Schemas, missing
from streamlearn.events import Reason
from streamlearn.records import Record


def avro_tree(config: SchemaRegistry) -> Callable[[Record], Any]:
    """Return the decoder of a record's value into plain values, by the schema that it refers to.

    Times become ``datetime``; UUIDs and decimal numbers, which JSON does not have, become text.

    Raises
    ------
    ConfigurationError
        If the extra is not installed.

    """
    try:
        from fastavro import parse_schema, schemaless_reader  # noqa: PLC0415 - an extra brings it
    except ImportError:
        raise missing("avro") from None

    def parse(schema: Any, referred: Mapping[str, Any]) -> Any:
        named: dict[str, Any] = {}
        for other in referred.values():
            parse_schema(json.loads(other.schema_str), named_schemas=named)
        return parse_schema(json.loads(schema.schema_str), named_schemas=named)

    schemas = Schemas(config, kind="AVRO", parse=parse)

    def tree(record: Record) -> Any:
        identity, content = unframed(record.value or b"")
        schema = schemas.get(identity)
        try:
            value = schemaless_reader(io.BytesIO(content), schema, None)
        except Exception:  # noqa: BLE001 - bytes that are not of their schema raise anything
            raise RefusedError(Reason.BAD_FORMAT, f"not what schema {identity} says") from None
        return _plain(value)

    return tree


def _plain(value: Any) -> Any:
    """Return `value` in plain types, except times with a date."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_plain(held) for held in value]
    is_date = isinstance(value, date) and type(value) is date  # datetime is a subclass of it
    return str(value) if is_date or isinstance(value, UUID | Decimal | time) else value
