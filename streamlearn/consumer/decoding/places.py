"""Looks a field up where the configuration says that it is: in the value, the key or a header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamlearn.config.places import Header, Key, Names, Place
from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.events import Reason
from streamlearn.records import Record

NOTHING = object()
"""The result if there is nothing, not even a null."""

Find = Callable[[Record, Any], Any]
"""Returns what is there, given a record and its value as a tree."""


def finder(place: Place, field: str) -> Find:
    """Return the function that finds `field` at `place`; it raises RefusedError if what is there cannot be read."""
    if isinstance(place, Key):
        return lambda record, _: _text(record.key, field)
    if isinstance(place, Header):
        name = place.name
        return lambda record, _: _text(_header(record, name), field)
    if isinstance(place, Names):
        return lambda _, tree: _under(place.names, tree)
    search = place.compiled.search

    def find(_: Record, tree: Any) -> Any:
        try:
            found = search(tree)
        except Exception:  # noqa: BLE001 - a function of JMESPath meets what it was not made for
            raise RefusedError(Reason.WRONG_TYPE, field) from None
        return NOTHING if found is None else found

    return find


def joined(finders: Sequence[Find], field: str) -> Find:
    """Return the function that joins the texts found by `finders` with line breaks, skipping missing or blank ones."""

    def find(record: Record, tree: Any) -> Any:
        found = [one(record, tree) for one in finders]
        there = [text for text in found if text is not NOTHING and text is not None]
        if any(not isinstance(text, str) for text in there):
            raise RefusedError(Reason.WRONG_TYPE, field)
        return "\n".join(text for text in there if text and not text.isspace()) if there else NOTHING

    return find


def _text(content: bytes | None, field: str) -> Any:
    if content is None:
        return NOTHING
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise RefusedError(Reason.NOT_UTF8, field) from None


def _header(record: Record, wanted: str) -> bytes | None:
    return next((content for name, content in reversed(record.headers) if name == wanted), None)


def _under(names: tuple[str, ...], tree: Any) -> Any:
    for name in names:
        if not isinstance(tree, dict) or name not in tree:
            return NOTHING
        tree = tree[name]
    return tree
