"""The section ``events``: what an event looks like, and what counts as an acceptable one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from streamlearn.config.bounds import Function, Labels, Place, Section, Text, Unit
from streamlearn.config.places import parse
from streamlearn.config.shape import check_shape

MOST_PARTS = 16  # of a text


class Fields(Section):
    """Where the fields of an event are: a path, ``key`` or ``header:NAME``; for the text, also several of them."""

    text: Place | Annotated[list[Place], Field(min_length=1, max_length=MOST_PARTS)] = "text"
    """Where the text is: a path in JMESPath such as ``payload.body``, ``key`` or ``header:NAME``; or a list of such
    places, whose texts are joined by line breaks."""
    label: Place = "label"
    """Where the label is: a path, ``key`` or ``header:NAME``."""
    id: Place = "id"
    """Where the event's own id is, by which duplicates are recognised. An event without one is never a duplicate."""
    timestamp: Place = "timestamp"
    """Where the time of the event is: Unix seconds or milliseconds, or ISO 8601. If there is none, the record's time
    counts."""

    def required(self, *, labelled: bool) -> dict[str, list[str]]:
        """Return the places of each field that an event must have; some of a field's places may be empty."""
        texts = [self.text] if isinstance(self.text, str) else self.text
        return {"text": texts, "label": [self.label]} if labelled else {"text": texts}

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
    """The names of the columns of a CSV value, in their order, and what separates them."""

    columns: Annotated[list[Text], Field(max_length=1000)] = Field(default_factory=list)
    """The names of the columns in their order; ``events.fields`` look them up."""
    delimiter: str = ","
    """The one character between two columns."""


class Events(Section):
    """What an event looks like, and what counts as an acceptable one."""

    format: Literal["json", "json_schema", "avro", "protobuf", "csv", "text"] = "json"
    """How a record's value is read. ``json_schema`` is JSON preceded by a schema's id, which is skipped; ``avro`` and
    ``protobuf`` need ``kafka.schema_registry`` and the extra of the same name."""
    csv: Csv = Csv()
    """How a row is read if ``format`` is ``csv``."""
    decoder: Function | None = None
    """A function of your own, ``module:function``, for values of any other shape. It gets the record, returns a
    mapping, and must be pure: it is called again when a record is read again."""
    fields: Fields = Fields()
    """Where in a record the fields of an event are."""
    labels: Labels = "discover"
    """A closed list, so that a record with any other label is refused, or ``discover``: labels are learnt as they come.
    A closed list catches misspelt labels."""
    max_labels: Annotated[int, Unit("labels")] = Field(default=1000, ge=1, le=10**6)
    """How many labels may be discovered. It bounds the memory and time that a faulty producer can cost."""
    max_text_characters: Annotated[int, Unit("characters")] = Field(default=20_000, ge=1, le=10**8)
    """Longer texts are refused. The others are cut at ``updater.max_tokens``."""
    duplicate_window: Annotated[int, Unit("events")] = Field(default=10_000, ge=0, le=10**7)
    """How many ids are remembered; an event with one of them is dropped as a duplicate; 0 for none. More take memory
    and make checkpoints larger."""
    holdout_ratio: Annotated[float, Unit("of the texts")] = Field(default=0.1, ge=0.0, lt=1.0)
    """The share of texts that are never trained on, by a stable hash. More measures better and learns less; with 0
    there is no hold-out, and no gate for snapshots."""
    holdout_records: Annotated[int, Unit("events")] = Field(default=256, ge=0, le=10**6)
    """How many of them are kept for each split, validation and test: the newest. More measure more finely, and cost one
    prediction each at every publication."""

    @model_validator(mode="after")
    def _shape_is_one(self) -> Events:
        check_shape(self)
        return self
