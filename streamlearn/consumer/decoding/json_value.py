"""Values in JSON: in UTF-8, and nested no deeper than every decoder of them can handle."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from streamlearn.consumer.decoding.fields import RefusedError, refusal, wire_type
from streamlearn.events import Reason
from streamlearn.records import Record

MOST_NESTED = 500  # the JSON decoder's own limit depends on the stack of its caller
BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)

_any: Callable[[bytes], Any] = msgspec.json.Decoder().decode
_document = msgspec.json.Decoder(msgspec.Raw)


def fields_reader(names: Mapping[str, str]) -> Callable[[Record], Any]:
    """Return a reader of the fields `names` of an object, straight from its bytes and skipping all others.

    Parameters
    ----------
    names
        The key of each field in the object, without quotation marks, backslashes or control characters.

    """
    decode = msgspec.json.Decoder(wire_type(names)).decode

    def read(record: Record) -> Any:
        value = record.value or b""
        try:
            if not value.isascii():
                value.decode()  # checks UTF-8: the JSON decoder skips unknown fields
            if len(value) > 2 * MOST_NESTED:
                _check_nesting(value)
            return decode(value)
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
            raise _refusal(value, error, names) from None

    return read


def tree(record: Record) -> Any:
    """Return the value of `record` as plain values; RefusedError where it is no JSON."""
    return parsed(record.value or b"")


def parsed(value: bytes) -> Any:
    """Return `value` as plain values; RefusedError where it is no JSON."""
    try:
        if not value.isascii():
            value.decode()
        if len(value) > 2 * MOST_NESTED:
            _check_nesting(value)
        return _any(value)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise _refusal(value, error, {}) from None


def _refusal(value: bytes, error: Exception, names: Mapping[str, str]) -> RefusedError:
    """Return why `value` has no fields; the decoder stops at the first mismatch, and the rest may not be JSON."""
    if isinstance(error, UnicodeDecodeError):
        return RefusedError(Reason.NOT_UTF8)
    try:
        _document.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return RefusedError(Reason.NOT_JSON)
    return refusal(error, names) if isinstance(error, msgspec.ValidationError) else RefusedError(Reason.NOT_JSON)


def _check_nesting(value: bytes) -> None:
    """Raise RecursionError if lists and objects of `value` are nested too deeply, ignoring brackets in strings."""
    if value.count(b"[") + value.count(b"{") <= MOST_NESTED:
        return
    depth = 0
    for token in BRACKETS.finditer(value):
        first = value[token.start()]
        depth += (first in b"[{") - (first in b"]}")
        if depth > MOST_NESTED:
            raise RecursionError
