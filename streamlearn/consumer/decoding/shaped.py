"""An event's fields from a value of any format: decoded into a tree of plain values, then looked up one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from streamlearn.config import Events
from streamlearn.config.places import Header, Key, Names, Place, parse
from streamlearn.config.plain import is_text
from streamlearn.consumer.decoding.fields import FIELDS, RefusedError, refusal, wire_type
from streamlearn.consumer.decoding.places import NOTHING, Find, finder, joined
from streamlearn.events import Reason
from streamlearn.records import Record

INTEGER = re.compile(r"-?[0-9]{1,19}")
NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,9})?")

Tree = Callable[[Record], Any]
"""Decodes a record's value into plain values, or raises RefusedError."""


class Shaped:
    """Reads the fields of an event from wherever the configuration says that they are.

    What comes as bytes without a type (a key, a header, a column of CSV) is text: numeric text counts as a number for a
    time, and for a label if ``events.labels`` is a closed list of integers.

    Parameters
    ----------
    config
        The paths of the fields, and whether labels are integers.
    tree
        Decodes the value into plain values.
    fields
        The fields to read.
    untyped
        Whether all values in the tree are text.

    """

    def __init__(self, config: Events, tree: Tree, fields: Sequence[str] = FIELDS, *, untyped: bool = False) -> None:
        self._tree = tree
        self._names = {field: field for field in fields}
        self._wire = wire_type(self._names)
        self._texts = [field for field in fields if field != "timestamp"]
        places = {field: list(spelled(getattr(config.fields, field)).values()) for field in fields}
        self._finders = {
            field: {
                spelling: finder(place, field) for spelling, place in spelled(getattr(config.fields, field)).items()
            }
            for field in fields
        }
        self._find = {
            field: joined(list(finders.values()), field) if len(finders) > 1 else next(iter(finders.values()))
            for field, finders in self._finders.items()
        }
        self._untyped = {field for field in fields if untyped or isinstance(places[field][0], Key | Header)}
        self._integers = config.labels != "discover" and isinstance(config.labels[0], int)
        self._in_an_object = any(isinstance(place, Names) for field in fields for place in places[field])

    def read(self, record: Record) -> Any:
        """Return the fields of the event in `record`; RefusedError if it has none."""
        tree = self._object(record)
        found = {}
        for field, find in self._find.items():
            value = find(record, tree)
            if value is not NOTHING:
                found[field] = self._typed(field, value) if field in self._untyped else value
        try:
            fields = msgspec.convert(found, self._wire)
        except msgspec.ValidationError as error:
            raise refusal(error, self._names) from None
        for field in self._texts:
            _require_text(getattr(fields, field), field)
        return fields

    def where(self, record: Record) -> dict[str, list[str]]:
        """Return for each field the configured paths at which `record` has a value; RefusedError if unreadable."""
        tree = self._object(record)
        return {field: _there(finders, record, tree) for field, finders in self._finders.items()}

    def _object(self, record: Record) -> Any:
        tree = self._tree(record)
        if self._in_an_object and not isinstance(tree, dict):
            raise RefusedError(Reason.WRONG_TYPE, "value")
        return tree

    def _typed(self, field: str, text: Any) -> Any:
        """Return the untyped `text` converted to the type of `field`."""
        if not isinstance(text, str):
            return text
        if field == "label":
            return int(text) if self._integers and INTEGER.fullmatch(text) else text
        if field == "timestamp":
            return float(text) if NUMBER.fullmatch(text) else text or None
        return text


def _there(finders: Mapping[str, Find], record: Record, tree: Any) -> list[str]:
    """Return the paths among `finders` at which there is a value."""
    there = []
    for spelling, find in finders.items():
        with suppress(RefusedError):
            if find(record, tree) not in (NOTHING, None):
                there.append(spelling)
    return there


def _require_text(text: Any, field: str) -> None:
    """Raise RefusedError if `text` contains a lone surrogate, which cannot be written to files or topics."""
    if isinstance(text, str) and not text.isascii() and not is_text(text):
        raise RefusedError(Reason.NOT_UTF8, field)


def spelled(setting: str | list[str]) -> dict[str, Place]:
    """Return the parsed paths of a setting in ``events.fields``, by their spelling."""
    return {spelling: parse(spelling) for spelling in ([setting] if isinstance(setting, str) else setting)}


def plain_names(fields: Mapping[str, str | list[str]]) -> dict[str, str] | None:
    """Return the key of each field at the top level of an object; None if one of them is elsewhere."""
    names = {}
    for field, setting in fields.items():
        place = parse(setting) if isinstance(setting, str) else None
        if not isinstance(place, Names) or len(place.names) > 1 or not _is_written_as_it_is(place.names[0]):
            return None
        names[field] = place.names[0]
    return names


def _is_written_as_it_is(name: str) -> bool:
    return name.isprintable() and not re.search(r'["\\]', name)
