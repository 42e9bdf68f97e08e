"""Values in Protocol Buffers, preceded by the id of their schema in a registry and the message's index in it.

References
----------
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/serdes-protobuf.html

"""

from __future__ import annotations

import base64
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from streamlearn.config.schema_registry import SchemaRegistry
from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.consumer.decoding.framed import unframed
from streamlearn.consumer.decoding.registry import Schemas, missing
from streamlearn.events import Reason
from streamlearn.records import Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WELL_KNOWN = ("google.protobuf", "google.type", "confluent_kafka.schema_registry.confluent")
"""The packages of files that serializers assume to be known everywhere."""
TIMESTAMP = "google.protobuf.Timestamp"
MOST_BITS = 63  # of a varint that is a length or an index


def protobuf_tree(config: SchemaRegistry) -> Callable[[Record], Any]:
    """Return the decoder of a record's value into plain values, by the schema that it refers to.

    Fields are named as in the schema; one that is not set and has no default is left out. A ``Timestamp`` becomes a
    ``datetime``, a wrapper such as ``StringValue`` the value in it, and an enum value its name.

    Raises
    ------
    ConfigurationError
        If the extra is not installed.

    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - an extra brings it

        known = _well_known()
    except ImportError:
        raise missing("protobuf") from None

    def parse(schema: Any, referred: Mapping[str, Any]) -> Any:
        pool = descriptor_pool.DescriptorPool()
        for content in known.values():
            pool.AddSerializedFile(content)
        own = {name: one for name, one in referred.items() if name not in known}
        file = descriptor_pb2.FileDescriptorProto()
        for name, one in [*own.items(), ("of the record", schema)]:
            file.ParseFromString(base64.b64decode(one.schema_str))
            file.name = name
            pool.AddSerializedFile(file.SerializeToString())
        names = [f"{file.package}.{message.name}".lstrip(".") for message in file.message_type]
        return [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]

    schemas = Schemas(config, kind="PROTOBUF", parse=parse, form="serialized")

    def tree(record: Record) -> Any:
        identity, content = unframed(record.value or b"")
        top = schemas.get(identity)
        try:
            path, begin = _path(content)
            kind = top[path[0]]
            for index in path[1:]:
                kind = message_factory.GetMessageClass(kind.DESCRIPTOR.nested_types[index])
            return _plain(kind.FromString(content[begin:]))
        except Exception:  # noqa: BLE001 - bytes that are not of their schema raise anything
            raise RefusedError(Reason.BAD_FORMAT, f"not what schema {identity} says") from None

    return tree


@cache
def _well_known() -> dict[str, bytes]:
    """Return, by name, the files that a schema may import without a reference, each after those that it imports."""
    found: dict[str, bytes] = {}

    def add(file: Any) -> None:
        for needed in file.dependencies:
            add(needed)
        found.setdefault(file.name, file.serialized_pb)

    for package in map(importlib.import_module, WELL_KNOWN):
        for module in sorted(pkgutil.walk_packages(package.__path__, f"{package.__name__}."), key=lambda one: one.name):
            if module.name.endswith("_pb2"):
                add(importlib.import_module(module.name).DESCRIPTOR)
    return found


def _path(content: bytes) -> tuple[list[int], int]:
    """Return the message's path of indices in its schema, and where the message begins in `content`."""
    count, begin = _varint(content, 0)
    if not count:  # which stands for the first message
        return [0], begin
    path: list[int] = []
    for _ in range(count):
        index, begin = _varint(content, begin)
        path.append(index)
    return path, begin


def _varint(content: bytes, begin: int) -> tuple[int, int]:
    """Return the zigzag integer at `begin`, which must not be negative, and where it ends."""
    value = shift = 0
    while True:
        byte = content[begin]
        begin += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether more follows
            break
        if shift > MOST_BITS:
            raise ValueError
    if value & 1:
        raise ValueError
    return value >> 1, begin


def _plain(message: Any) -> Any:
    """Return `message` in plain types, except times."""
    descriptor = message.DESCRIPTOR
    if descriptor.full_name == TIMESTAMP:
        return EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    if descriptor.file.name == "google/protobuf/wrappers.proto":
        return message.value
    found: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = field.message_type.fields_by_name["value"]
            found[field.name] = {key: _value(value[key], of) for key in value}
        elif field.is_repeated:
            found[field.name] = [_value(one, field) for one in value]
        else:
            found[field.name] = _value(value, field)
    return found


def _value(value: Any, field: Any) -> Any:
    """Return one `value` of `field`."""
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value
