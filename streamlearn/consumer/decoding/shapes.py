"""Chooses the reader of an event's fields by the configured format; each format is a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamlearn.config import Events
from streamlearn.config.schema_registry import WITH_SCHEMAS, SchemaRegistry
from streamlearn.consumer.decoding import json_value
from streamlearn.consumer.decoding.avro_value import avro_tree
from streamlearn.consumer.decoding.csv_value import csv_tree
from streamlearn.consumer.decoding.fields import FIELDS
from streamlearn.consumer.decoding.framed import json_schema_tree
from streamlearn.consumer.decoding.own import own_tree
from streamlearn.consumer.decoding.protobuf_value import protobuf_tree
from streamlearn.consumer.decoding.shaped import Shaped, plain_names
from streamlearn.consumer.decoding.text_value import text_tree
from streamlearn.errors import ConfigurationError
from streamlearn.records import Record

UNTYPED = {"csv", "text"}
"""Formats in which all values are text."""


def fields_reader(config: Events, fields: Sequence[str] = FIELDS) -> Callable[[Record], Any] | None:
    """Return a reader of only `fields` at the top level of a JSON object; None if that is not the format."""
    names = plain_names({field: getattr(config.fields, field) for field in fields})
    if config.decoder is not None or config.format != "json" or names is None:
        return None
    return json_value.fields_reader(names)


def shaped(config: Events, registry: SchemaRegistry | None, fields: Sequence[str] = FIELDS) -> Shaped:
    """Return a reader of the `fields` of an event of any format, with the schemas of `registry` if needed.

    Raises
    ------
    ConfigurationError
        If something that it needs is missing.

    """
    return Shaped(config, _tree(config, registry), fields, untyped=config.format in UNTYPED)


def _tree(config: Events, registry: SchemaRegistry | None) -> Callable[[Record], Any]:
    if config.decoder is not None:
        return own_tree(config.decoder)
    if config.format in WITH_SCHEMAS:
        if registry is None:
            raise ConfigurationError(f"events.format: {config.format} is for a topic whose schemas are in a registry")
        return (avro_tree if config.format == "avro" else protobuf_tree)(registry)
    trees: dict[str, Callable[[], Callable[[Record], Any]]] = {
        "json": lambda: json_value.tree,
        "json_schema": lambda: json_schema_tree,
        "csv": lambda: csv_tree(config.csv.columns, config.csv.delimiter),
        "text": lambda: text_tree,
    }
    return trees[config.format]()
