"""Values that are plain text: just the text of the event."""

from __future__ import annotations

from typing import Any

from streamlearn.config.shape import WHOLE_TEXT
from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.events import Reason
from streamlearn.records import Record


def text_of(record: Record) -> str:
    """Return the value of `record` as UTF-8; RefusedError if it is not."""
    try:
        return (record.value or b"").decode()
    except UnicodeDecodeError:
        raise RefusedError(Reason.NOT_UTF8) from None


def text_tree(record: Record) -> Any:
    """Return the value of `record` as a tree with a single name."""
    return {WHOLE_TEXT: text_of(record)}
