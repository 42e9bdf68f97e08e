"""Examples in a file, read like the values of records: JSON lines, CSV or Parquet, by the file's extension."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from streamlearn.commands.lines import LONGEST_LINE, lines
from streamlearn.config import Fields
from streamlearn.config.places import Names, parse
from streamlearn.errors import ConfigurationError
from streamlearn.events import Label

INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")

TABLES = frozenset({".csv", ".parquet"})
Row = dict[str, Any]


def values(path: Path, fields: Fields, *, kind: type[Label] | None, labelled: bool = True) -> Iterator[bytes]:
    """Yield each example in the file `path`.

    A row of a table is read like a JSON object, whose keys are the columns.

    Parameters
    ----------
    path
        ``.csv`` and ``.parquet`` are tables; anything else is lines, each like the value of a record.
    fields
        The names of text, label, id and timestamp.
    kind
        The type of labels, which a CSV file does not tell; None takes them as integers if all are written as such.
    labelled
        Whether a table must have a column of labels.

    Raises
    ------
    ConfigurationError
        If it cannot be read, lacks these columns, or needs a package that is not installed.

    """
    try:
        if path.suffix == ".csv":
            yield from _as_json(_csv_rows(path, fields, kind, labelled=labelled))
        elif path.suffix == ".parquet":
            yield from _as_json(_parquet_rows(path, fields, labelled=labelled))
        else:
            with path.open("rb") as file:
                yield from lines(file)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"cannot read {path}: it is not UTF-8") from None
    except csv.Error as error:
        raise ConfigurationError(f"cannot read {path}: it is no CSV file ({error})") from None


def _csv_rows(path: Path, fields: Fields, kind: type[Label] | None, *, labelled: bool) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_LINE)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        _require_columns(path, list(reader.fieldnames or []), fields, labelled=labelled)
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


def _parquet_rows(path: Path, fields: Fields, *, labelled: bool) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet  # noqa: PLC0415 - it is large, and few need it
    except ImportError:
        raise ConfigurationError(f"reading {path} takes the package pyarrow: pip install pyarrow") from None
    try:
        table = parquet.ParquetFile(path)
        _require_columns(path, table.schema_arrow.names, fields, labelled=labelled)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    except ArrowException as error:
        raise ConfigurationError(f"cannot read {path}: {str(error).splitlines()[0]}") from None


def _require_columns(path: Path, there: list[str], fields: Fields, *, labelled: bool) -> None:
    """Raise ConfigurationError if the text, or the label if any, is configured as a column that is not `there`."""
    texts = [fields.text] if isinstance(fields.text, str) else fields.text
    for field, places in (("text", texts), ("label", [fields.label] if labelled else [])):
        for name in filter(None, map(_column, places)):
            if name not in there:
                shown = ", ".join(there[:10]) or "none"
                raise ConfigurationError(
                    f"{path} has no column '{name}' (there: {shown}); events.fields.{field} names the one that is meant"
                )


def _column(place: str) -> str | None:
    """Return the column that `place` names; None if it is a path, a key or a header."""
    parsed = parse(place)
    return parsed.names[0] if isinstance(parsed, Names) and len(parsed.names) == 1 else None


def _as_json(rows: Iterator[Row]) -> Iterator[bytes]:
    """Yield `rows` as JSON objects, without missing values."""
    encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=str).encode
    for row in rows:
        yield encode({name: value for name, value in row.items() if value is not None})
