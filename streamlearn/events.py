"""A labelled text event, and the reasons to refuse a record."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

NAME_LIMIT = 512  # characters of a label or an id: both are kept in memory, which must stay bounded
LABELS_FROM, LABELS_TO = -(2**63), 2**63 - 1  # the integers that every reader of a published model can represent

Label = str | int
UNLABELLED = ""
"""The label of events that a language model learns; no labelled event has it."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One text from Kafka, with its label if a classifier learns it.

    ``timestamp`` is the event time in Unix seconds, 0 if neither the event nor Kafka has one. ``tokens`` are the token
    ids, of shape (tokens,) and type int32, once the updater has encoded the text; they stay with the event so that a
    replayed event is not tokenised again. ``identified`` is whether the producer set ``id``: an id made from the offset
    names the event, but cannot show that it is a duplicate.
    """

    text: str
    label: Label
    id: str
    timestamp: float
    topic: str
    partition: int
    offset: int
    tokens: NDArray[np.int32] | None = None
    identified: bool = True


def flaw(text: str) -> str:
    """Return what is wrong with a `text` that can be neither learnt nor used as a label; empty if nothing is."""
    if not text or text.isspace():
        return "is empty"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "holds half of a surrogate pair, which no text has"
    return ""


class Reason(StrEnum):
    """Why a record became a dead letter. The values are a closed set: they label a metric."""

    TOMBSTONE = "tombstone"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    BAD_FORMAT = "bad_format"
    UNKNOWN_SCHEMA = "unknown_schema"
    DECODER = "decoder"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    EMPTY_TEXT = "empty_text"
    TEXT_TOO_LONG = "text_too_long"
    BAD_TIMESTAMP = "bad_timestamp"
    FIELD_TOO_LONG = "field_too_long"
    EMPTY_LABEL = "empty_label"
    UNKNOWN_LABEL = "unknown_label"
    LABEL_TYPE = "label_type"
    TOO_MANY_LABELS = "too_many_labels"
    NOT_FINITE = "not_finite"
    MODEL_ERROR = "model_error"
    RECORD_TOO_LARGE = "record_too_large"
    UNREADABLE = "unreadable"


class Outcome(StrEnum):
    """The outcome of a record; the values label ``streamlearn_events_total``."""

    TRAINED = "trained"
    HELD_OUT = "held_out"
    DEAD_LETTER = "dead_letter"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"
