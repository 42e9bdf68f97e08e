"""A schema registry as far as its readers see it, after Confluent's description of its REST API.

References
----------
https://docs.confluent.io/platform/current/schema-registry/develop/api.html

"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import fastavro
from google.protobuf import timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass


class Registry:
    """Schemas by id and by subject.

    Attributes
    ----------
    url
        Where it listens.
    asked
        The paths that were asked for.
    status
        What it answers to everything, 0 where it does what it should.
    user
        Whom it answers, ``name:password``; everybody where it is empty.

    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status, self.user, self.url = 0, "", ""
        self._by_id: dict[int, dict[str, Any]] = {}
        self._by_subject: dict[str, int] = {}

    def add(self, subject: str, schema: Any, *, kind: str = "AVRO", references: list[str] | None = None) -> int:
        """Register `schema` as the first version of `subject`, and return its id."""
        number = 100 + len(self._by_id)
        text = schema if isinstance(schema, str) else json.dumps(schema)
        self._by_id[number] = {"schema": text} | ({} if kind == "AVRO" else {"schemaType": kind})
        if references:
            self._by_id[number]["references"] = [{"name": r, "subject": r, "version": 1} for r in references]
        self._by_subject[subject] = number
        return number

    def add_protobuf(self, subject: str, file: FileDescriptorProto, *, references: list[str] | None = None) -> int:
        """Register `file` in the form that readers ask for, and return its id; a reference is a file's subject."""
        schema = base64.b64encode(file.SerializeToString()).decode()
        return self.add(subject, schema, kind="PROTOBUF", references=references)

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the content of the answer."""
        self.asked.append(path)
        if self.status:
            return self.status, {"error_code": self.status, "message": "as the test says"}
        if self.user and authorization != "Basic " + base64.b64encode(self.user.encode()).decode():
            return 401, {"error_code": 401, "message": "Unauthorized"}
        parts = [unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        number = self._by_subject.get(parts[1], 0) if parts[0] == "subjects" else int(parts[-1])
        if number not in self._by_id:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        whole = {"subject": parts[1], "version": 1, "id": number} if parts[0] == "subjects" else {}
        return 200, self._by_id[number] | whole


@contextmanager
def registry() -> Iterator[Registry]:
    """Run a registry meanwhile."""
    content = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, found = content.answer(self.path, self.headers.get("Authorization", ""))
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        content.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield content
        server.shutdown()


def avro(number: int, schema: Any, value: Any, *named: Any) -> bytes:
    """Return `value` as Avro behind the id `number` of its `schema`, which may refer to those that are `named`."""
    written, known = io.BytesIO(), dict[str, Any]()
    for other in named:
        fastavro.parse_schema(other, named_schemas=known)
    fastavro.schemaless_writer(written, fastavro.parse_schema(schema, named_schemas=known), value)
    return b"\0" + number.to_bytes(4, "big") + written.getvalue()


FIELD_TYPES = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}


def proto(name: str, messages: dict[str, dict[str, str]], *imports: str) -> FileDescriptorProto:
    """Return the file `name` of `messages`: the types of their fields by name, in order, ``[]`` behind repeated ones.

    A type that is none of protobuf's own begins with a dot; ``optional`` in front of one gives it presence.
    """
    file = FileDescriptorProto(name=name, package="tickets", syntax="proto3", dependency=imports)
    for message, fields in messages.items():
        made = file.message_type.add(name=message)
        for number, (called, kind) in enumerate(fields.items(), 1):
            optional, plain = kind.startswith("optional "), kind.removeprefix("optional ").removesuffix("[]")
            field = made.field.add(name=called, number=number, json_name=called)
            field.label = (
                FieldDescriptorProto.LABEL_REPEATED if kind.endswith("[]") else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if plain.startswith("."):
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, plain
            else:
                field.type = FIELD_TYPES[plain]
            if optional:
                field.proto3_optional, field.oneof_index = True, len(made.oneof_decl)
                made.oneof_decl.add(name=f"_{called}")
    return file


def message(file: FileDescriptorProto, name: str, value: dict[str, Any], *imported: FileDescriptorProto) -> bytes:
    """Return `value`, as JSON has it, as the message `name` of `file`, without what stands in front of it."""
    pool = DescriptorPool()
    for known in (timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    for one in (*imported, file):
        pool.AddSerializedFile(one.SerializeToString())
    made = GetMessageClass(pool.FindMessageTypeByName(f"tickets.{name}"))()
    written: bytes = ParseDict(value, made).SerializeToString()
    return written


def framed(number: int, content: bytes, *path: int) -> bytes:
    """Return `content` behind the id of its schema and, if it is not the first message there, the `path` to it."""
    indices = bytes([2 * len(path), *(2 * index for index in path)]) if path else b"\0"
    return b"\0" + number.to_bytes(4, "big") + indices + content
