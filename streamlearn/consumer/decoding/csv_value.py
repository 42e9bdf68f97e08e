"""Values that are one row of CSV (RFC 4180), whose columns the configuration names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.consumer.decoding.text_value import text_of
from streamlearn.events import Reason
from streamlearn.records import Record

LONGEST_COLUMN = 2**31 - 1  # characters; the csv module's own limit of 131,072 is process-wide


def csv_tree(columns: Sequence[str], delimiter: str) -> Callable[[Record], Any]:
    """Return the decoder of a row into a mapping from `columns` to text."""
    csv.field_size_limit(LONGEST_COLUMN)
    names = list(columns)

    def tree(record: Record) -> Any:
        try:
            rows = list(csv.reader(io.StringIO(text_of(record), newline=""), delimiter=delimiter, strict=True))
        except csv.Error:
            raise RefusedError(Reason.BAD_FORMAT, "not CSV") from None
        if len(rows) != 1:
            raise RefusedError(Reason.BAD_FORMAT, f"{len(rows)} rows")
        [row] = rows
        if len(row) != len(names):
            raise RefusedError(Reason.BAD_FORMAT, f"{len(row)} columns")
        if row == names:
            raise RefusedError(Reason.BAD_FORMAT, "the names of the columns")
        return dict(zip(names, row, strict=True))

    return tree
