"""The section ``events``: what an event looks like, and what counts as an acceptable one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from streamlearn.config.bounds import Function, Labels, Place, Section, Text, Unit
from streamlearn.config.places import parse
from streamlearn.config.shape import check_shape

MOST_PARTS = 16  # of a text


class Fields(Section):
    """Where the fields of an event stand: a path into the value, ``key`` or ``header:NAME``; of a text, or several."""

    text: Place | Annotated[list[Place], Field(min_length=1, max_length=MOST_PARTS)] = "text"
    """Where the text stands: a path in JMESPath such as ``payload.body``, ``key`` or ``header:NAME``; or a list of
    such places, whose texts are joined by line breaks."""
    label: Place = "label"
    """Where the label stands: a path, ``key`` or ``header:NAME``."""
    id: Place = "id"
    """Where the event's own id stands, by which repetitions are known. An event without one is never a repetition."""
    timestamp: Place = "timestamp"
    """Where the time of the event stands: Unix seconds or milliseconds, or ISO 8601. Without one it is the
    record's."""

    @model_validator(mode="after")
    def _places_differ(self) -> Fields:
        first: dict[object, str] = {}
        for field, spelled in self:
            for spelling in [spelled] if isinstance(spelled, str) else spelled:
                place = parse(spelling)
                if place in first:
                    both = f"{first[place]} and {field} have" if first[place] != field else f"two parts of {field} have"
                    raise ValueError(f"{both} one place, and would both be read from it")
                first[place] = field
        return self


class Csv(Section):
    """What the columns of a value of CSV are called, in their order, and what stands between them."""

    columns: Annotated[list[Text], Field(max_length=1000)] = Field(default_factory=list)
    """The names of the columns in their order; ``events.fields`` look them up."""
    delimiter: str = ","
    """The one character between two columns."""


class Events(Section):
    """What an event looks like, and what counts as an acceptable one."""

    format: Literal["json", "json_schema", "avro", "protobuf", "csv", "text"] = "json"
    """How a record's value is read. ``json_schema`` is JSON with a schema's id in front, which is skipped; ``avro``
    and ``protobuf`` need ``kafka.schema_registry`` and the extra of the same name."""
    csv: Csv = Csv()
    """How a row is read where ``format`` is ``csv``."""
    decoder: Function | None = None
    """A function of your own, ``module:function``, for values of any other shape. It gets the record, returns a
    mapping, and must be pure: it is asked again when a record is read again."""
    fields: Fields = Fields()
    """Where in a record the fields of an event stand."""
    labels: Labels = "discover"
    """A closed list, so that a record with any other label is refused, or ``discover``: labels are learnt as they
    come. A closed list knows a typing error for what it is."""
    max_labels: Annotated[int, Unit("labels")] = Field(default=1000, ge=1, le=10**6)
    """How many labels may be discovered. It bounds what a producer gone wrong can cost in memory and time."""
    max_text_characters: Annotated[int, Unit("characters")] = Field(default=20_000, ge=1, le=10**8)
    """Longer texts are refused. ``updater.max_tokens`` is where the others are cut."""
    duplicate_window: Annotated[int, Unit("events")] = Field(default=10_000, ge=0, le=10**7)
    """How many ids are remembered, within which a repeated one is dropped; 0 for none. More takes memory and makes
    checkpoints larger."""
    holdout_ratio: Annotated[float, Unit("of the texts")] = Field(default=0.1, ge=0.0, lt=1.0)
    """The share of texts that are never trained on, by a stable hash. More measures better and learns less; with 0
    there is no hold-out, and snapshots cannot be held to it."""
    holdout_records: Annotated[int, Unit("events")] = Field(default=256, ge=0, le=10**6)
    """How many of them are kept for each split, validation and test: the newest. More measures finer, and
    costs a prediction each at every publication."""

    @model_validator(mode="after")
    def _shape_is_one(self) -> Events:
        check_shape(self)
        return self
