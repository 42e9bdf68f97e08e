"""Examples in a file or directory, read like the values of records."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from streamlearn.commands.finetuning.saved import DATASET_DICT, saved_rows
from streamlearn.commands.finetuning.tables import Reader, Row, csv_rows, parquet_rows
from streamlearn.commands.lines import lines
from streamlearn.config import Fields
from streamlearn.errors import ConfigurationError
from streamlearn.events import Label

READERS: dict[str, Reader] = {".csv": csv_rows, ".parquet": parquet_rows}


def values(path: Path, fields: Fields, *, kind: type[Label] | None, labelled: bool = True) -> Iterator[bytes]:
    """Yield each example at `path`.

    A row of a table is read like a JSON object, whose keys are the columns.

    Parameters
    ----------
    path
        ``.csv`` and ``.parquet`` are tables, and so is a directory, a saved data set of the package datasets; anything
        else is lines, each like the value of a record.
    fields
        The names of text, label, id and timestamp.
    kind
        The type of labels, which not every table tells; None takes them as integers if all are written as such.
    labelled
        Whether a table must have a column of labels.

    Raises
    ------
    ConfigurationError
        If it cannot be read, lacks these columns, or needs a package that is not installed.

    """
    try:
        if reader := _reader(path):
            yield from _as_json(reader(path, fields, kind, labelled))
        else:
            with path.open("rb") as file:
                yield from lines(file)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"cannot read {path}: it is not UTF-8") from None
    except csv.Error as error:
        raise ConfigurationError(f"cannot read {path}: it is no CSV file ({error})") from None


def is_table(path: Path) -> bool:
    """Return whether the examples at `path` are rows, whatever the format of a record's value."""
    return _reader(path) is not None


def _reader(path: Path) -> Reader | None:
    return saved_rows if os.path.isdir(path) else READERS.get(path.suffix)  # noqa: PTH112 - says no, and raises nothing


def shown_name(path: Path) -> str:
    """Return the name of a file or data set without its directories, but with that of the set that it is a split of."""
    path = path.resolve()
    return f"{path.parent.name}/{path.name}" if (path.parent / DATASET_DICT).is_file() else path.name


def _as_json(rows: Iterator[Row]) -> Iterator[bytes]:
    """Yield `rows` as JSON objects, without missing values."""
    encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=str).encode
    for row in rows:
        yield encode({name: value for name, value in _texts(row).items() if value is not None})


def _texts(value: Any) -> Any:
    """Return `value` with all bytes in it as texts, or as None if they are not UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, dict):
        return {name: _texts(one) for name, one in value.items()}
    return [_texts(one) for one in value] if isinstance(value, list) else value
