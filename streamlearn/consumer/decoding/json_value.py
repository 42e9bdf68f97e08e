"""A value that is JSON: UTF-8 throughout, and nested no deeper than everybody who decodes it can follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from streamlearn.consumer.decoding.fields import RefusedError, refusal, wire_type
from streamlearn.events import Reason
from streamlearn.records import Record

MOST_NESTED = 500  # the JSON decoder's own limit depends on its caller's stack, and so on who decodes
BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)

_any: Callable[[bytes], Any] = msgspec.json.Decoder().decode
_document = msgspec.json.Decoder(msgspec.Raw)


def fields_reader(names: Mapping[str, str]) -> Callable[[Record], Any]:
    """Return what reads the fields of an object straight from its bytes, and leaves all others unread.

    Parameters
    ----------
    names
        What each field is called in the object; none holds a quotation mark, a backslash or a control character.

    """
    decode = msgspec.json.Decoder(wire_type(names)).decode

    def read(record: Record) -> Any:
        value = record.value or b""
        try:
            if not value.isascii():
                value.decode()  # the JSON decoder leaves unknown fields unread
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
    """Return why `value` has no fields; the decoder stops at the first misfit, and what follows may be no JSON."""
    if isinstance(error, UnicodeDecodeError):
        return RefusedError(Reason.NOT_UTF8)
    try:
        _document.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return RefusedError(Reason.NOT_JSON)
    return refusal(error, names) if isinstance(error, msgspec.ValidationError) else RefusedError(Reason.NOT_JSON)


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
