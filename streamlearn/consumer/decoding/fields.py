"""The fields of an event as found, with the types that they may have; and the error of a record without them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from streamlearn.events import Reason

OPTIONAL = ("id", "timestamp")
REQUIRED = ("text", "label")
FIELDS = REQUIRED + OPTIONAL


class RefusedError(Exception):
    """A record holds no event.

    Attributes
    ----------
    reason
        Why.
    detail
        The field that the reason concerns, or more about the reason; may be empty.

    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def wire_type(names: Mapping[str, str]) -> Any:
    """Return the structure of the fields as found: those in `names`, each under the name given there."""
    every: list[Any] = [
        ("text", str),
        ("label", str | int),
        ("id", str | int | None, None),
        ("timestamp", float | datetime | None, None),
    ]
    return msgspec.defstruct("WireEvent", [field for field in every if field[0] in names], rename=names, gc=False)


def refusal(error: msgspec.ValidationError, names: Mapping[str, str]) -> RefusedError:
    """Return msgspec's `error` about a :func:`wire_type` with these `names` as a reason."""
    message = str(error)
    fields = {name: field for field, name in names.items()}
    if message.startswith("Object missing required field"):
        return RefusedError(Reason.MISSING_FIELD, fields.get(message.partition("`")[2].removesuffix("`"), ""))
    field = fields.get(message.rpartition("`$.")[2].removesuffix("`"), "value")
    if field == "timestamp":
        return RefusedError(Reason.BAD_TIMESTAMP, field)
    too_long = message.startswith("Integer value out of range")
    return RefusedError(Reason.FIELD_TOO_LONG if too_long else Reason.WRONG_TYPE, field)
