"""Examples in the rows of a table: CSV, Parquet, or a data set that the package datasets saved.

Each reader yields the rows as mappings from a column's name to its value. What a file says does not depend on what is
installed: CSV and Parquet have one reader each, and only the directories of datasets are read by that package.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from streamlearn.commands.lines import LONGEST_LINE
from streamlearn.config import Fields
from streamlearn.config.places import Names, parse
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.events import Label

INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
AT_ONCE = 1000  # rows of a saved data set
MARKERS = "state.json", "dataset_dict.json"  # of which a saved data set, or several, has one

Row = dict[str, Any]
Reader = Callable[[Path, Fields, type[Label] | None, bool], Iterator[Row]]


def csv_rows(path: Path, fields: Fields, kind: type[Label] | None, labelled: bool) -> Iterator[Row]:
    """Yield the rows of a CSV file, in which an empty cell is a missing value."""
    csv.field_size_limit(LONGEST_LINE)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        _require_columns(path, list(reader.fieldnames or []), fields, labelled=labelled)
        rows = [{name: value for name, value in row.items() if name and value} for row in reader]
    label, timestamp = _column(fields.label), _column(fields.timestamp)
    integers = _integers([row[label] for row in rows if label in row], kind)
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
        _require_columns(path, table.schema_arrow.names, fields, labelled=labelled)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    except ArrowException as error:
        raise ConfigurationError(f"cannot read {path}: {str(error).splitlines()[0]}") from None


def saved_rows(path: Path, fields: Fields, kind: type[Label] | None, labelled: bool) -> Iterator[Row]:
    """Yield the rows of a directory that ``Dataset.save_to_disk`` wrote.

    A label that is stored as a class is given by the class's name, or as an integer by the rule for CSV.
    """
    if not any((path / marker).is_file() for marker in MARKERS):
        raise ConfigurationError(f"cannot read {path}: it is a directory, but not one that Dataset.save_to_disk wrote")
    try:
        import datasets  # noqa: PLC0415 - it is large, and few need it
    except ImportError:
        raise ConfigurationError(f"reading {path} takes the package datasets: pip install datasets") from None
    try:
        found = datasets.load_from_disk(str(path))
        if isinstance(found, datasets.DatasetDict):
            splits = ", ".join(str(path / name) for name in found)
            raise ConfigurationError(f"{path} holds several data sets: name one of them ({splits})")
        _require_columns(path, found.column_names, fields, labelled=labelled)
        label = (_column(fields.label) if labelled else None) or ""
        feature = found.features.get(label)
        classes = _classes(feature.names, kind) if isinstance(feature, datasets.ClassLabel) else None
        for batch in found.with_format("arrow").iter(AT_ONCE):
            batch.validate(full=True)  # Arrow trusts the offsets in a file, and a wrong one ends the process
            for row in batch.to_pylist():
                yield row if classes is None else {**row, label: classes.get(row[label])}
    except StreamlearnError:
        raise
    except Exception as error:  # noqa: BLE001 - in damaged files the package fails as it happens: TypeError, KeyError, …
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigurationError(f"cannot read {path} as a data set of the package datasets ({reason})") from None


def _classes(names: Sequence[str], kind: type[Label] | None) -> dict[int | None, Label]:
    """Return the label that each class's number stands for; other numbers, such as −1, stand for none."""
    if _integers(names, kind) and all(map(INTEGER.fullmatch, names)):
        return {number: int(name) for number, name in enumerate(names)}
    return {number: number if kind is int else name for number, name in enumerate(names)}


def _integers(written: Iterable[str], kind: type[Label] | None) -> bool:
    """Return whether labels that are `written` so are meant as integers, which a text does not tell."""
    return kind is int or (kind is None and all(map(INTEGER.fullmatch, written)))


def _require_columns(path: Path, there: Sequence[str], fields: Fields, *, labelled: bool) -> None:
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
