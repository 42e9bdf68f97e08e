"""Decisions: whatever affects θ and does not follow from the state and the records. Each is journalled before it acts.

Each kind of decision has its own file in this package, and is registered by its import below.
"""

from __future__ import annotations

import msgspec

from streamlearn.decisions.base import Decision as Decision
from streamlearn.decisions.seek import Seek as Seek
from streamlearn.decisions.step import Step as Step

KINDS: dict[str | int | None, type[Decision]] = {kind.__struct_config__.tag: kind for kind in Decision.__subclasses__()}


class Unknown(msgspec.Struct, frozen=True):
    """A decision of a kind, or with a field, that this version does not know; a newer streamlearn recorded it."""

    step: int
    kind: str | None = None


def decode(line: bytes) -> Decision | Unknown:
    """Return the decision encoded in `line` as JSON.

    Raises
    ------
    ValueError
        If it is none.

    """
    outline = msgspec.json.decode(line, type=Unknown)
    kind = KINDS.get(outline.kind)
    if kind is None:
        return outline
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.ValidationError as error:
        if str(error).startswith("Object contains unknown field"):
            return Unknown(outline.step, outline.kind or kind.__name__.lower())
        raise
