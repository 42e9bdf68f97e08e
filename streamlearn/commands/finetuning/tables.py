"""Examples in the rows of a table in a file, CSV or Parquet.

Each reader yields the rows as mappings from a column's name to its value. Of a Parquet file or a saved data set, only
the columns in which a field of an event is looked up are read.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from streamlearn.commands.lines import LONGEST_LINE
from streamlearn.config import Fields
from streamlearn.config.places import Expression, Names, parse
from streamlearn.errors import ConfigurationError
from streamlearn.events import Label

INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")

Row = dict[str, Any]
Reader = Callable[[Path, Fields, type[Label] | None, bool], Iterator[Row]]


def csv_rows(path: Path, fields: Fields, kind: type[Label] | None, labelled: bool) -> Iterator[Row]:
    """Yield the rows of a CSV file, in which an empty cell is a missing value."""
    csv.field_size_limit(LONGEST_LINE)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        require_columns(path, list(reader.fieldnames or []), fields, labelled=labelled)
        rows = [{name: value for name, value in row.items() if name and value} for row in reader]
    label, timestamp = _column(fields.label), _column(fields.timestamp)
    written = [row[label] for row in rows if label in row]
    integers = kind is int or (kind is None and all(map(INTEGER.fullmatch, written)))
    for row in rows:
        if integers and label in row and INTEGER.fullmatch(row[label]):
            row[label] = int(row[label])
        if timestamp in row and NUMBER.fullmatch(row[timestamp]):
            row[timestamp] = float(row[timestamp])
        yield row


def parquet_rows(path: Path, fields: Fields, _kind: type[Label] | None, labelled: bool) -> Iterator[Row]:
    """Yield the rows of a Parquet file, which tells the types of its columns."""
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - it is large, and few need it
    except ImportError:
        raise ConfigurationError(f"reading {path} takes the package pyarrow: pip install pyarrow") from None
    try:
        table = parquet.ParquetFile(path)
        there = table.schema_arrow.names
        require_columns(path, there, fields, labelled=labelled)
        columns = looked_at(there, fields)
        for batch in table.iter_batches(columns=columns):
            yield from plain_rows(batch)
    except (ArrowException, ValueError, OverflowError, KeyError) as error:
        raise ConfigurationError(f"cannot read {path}: {str(error).splitlines()[0]}") from None


def plain_rows(batch: Any) -> list[Row]:
    """Return the rows of an Arrow table or batch; times have microseconds, as those of Python have."""
    import pyarrow as pa  # noqa: PLC0415 - it is large, and few need it

    for index, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            coarser = batch.column(index).cast(pa.timestamp("us", column.type.tz), safe=False)
            batch = batch.set_column(index, column.name, coarser)
    rows: list[Row] = batch.to_pylist()
    return rows


def looked_at(there: Sequence[str], fields: Fields) -> list[str]:
    """Return those of the columns `there` in which a field may be; all of them if an expression may be about any."""
    required = chain.from_iterable(fields.required(labelled=True).values())
    places = [parse(place) for place in (*required, fields.id, fields.timestamp)]
    if any(isinstance(place, Expression) for place in places):
        return list(there)
    named = {place.names[0] for place in places if isinstance(place, Names)}
    return [name for name in there if name in named]


def require_columns(path: Path, there: Sequence[str], fields: Fields, *, labelled: bool) -> None:
    """Raise ConfigurationError if the column of the text, or of the label if any, is not `there` exactly once."""
    for field, places in fields.required(labelled=labelled).items():
        for name in filter(None, map(_column, places)):
            if name not in there:
                shown = ", ".join(there[:10]) or "none"
                raise ConfigurationError(
                    f"{path} has no column '{name}' (there: {shown}); events.fields.{field} names the one that is meant"
                )
            if there.count(name) > 1:
                raise ConfigurationError(f"{path} has several columns '{name}', the {field}")


def _column(place: str) -> str | None:
    """Return the column that `place` names; None if it is a path, a key or a header."""
    parsed = parse(place)
    return parsed.names[0] if isinstance(parsed, Names) and len(parsed.names) == 1 else None
