"""Examples in a directory that ``Dataset.save_to_disk`` of the package datasets wrote.

That package is imported for these directories only, so that files are read alike with and without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from streamlearn.commands.finetuning.tables import INTEGER, Row, looked_at, plain_rows, require_columns
from streamlearn.config import Fields
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.events import Label

DATASET, DATASET_DICT = "state.json", "dataset_dict.json"  # the file that marks a Dataset, or a DatasetDict of splits
END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream of Arrow
AT_ONCE = 1000  # rows

Change = Callable[[Any], Any]


def saved_rows(path: Path, fields: Fields, kind: type[Label] | None, labelled: bool) -> Iterator[Row]:
    """Yield the rows of a saved data set.

    A class (``ClassLabel``) is given by its name; as an integer, by the rule for CSV, if all names are integers.
    """
    if not any((path / name).is_file() for name in (DATASET, DATASET_DICT)):
        raise ConfigurationError(f"cannot read {path}: it is a directory, but not one that Dataset.save_to_disk wrote")
    if "::" in str(path.resolve()):
        raise ConfigurationError(f"cannot read {path}: the package datasets takes '::' in a path for something else")
    try:
        if (path / DATASET_DICT).is_file():
            splits = ", ".join(str(path / name) for name in json.loads((path / DATASET_DICT).read_bytes())["splits"])
            raise ConfigurationError(f"{path} holds several splits: name one of them ({splits or 'there is none'})")
        yield from _rows(path, fields, kind, labelled=labelled)
    except StreamlearnError:
        raise
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"reading {path} takes the package {error.name}: pip install {error.name}") from None
    except Exception as error:  # noqa: BLE001 - in damaged files the package fails as it happens: TypeError, KeyError, …
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigurationError(f"cannot read {path} as a data set of the package datasets ({reason})") from None


def _rows(path: Path, fields: Fields, kind: type[Label] | None, *, labelled: bool) -> Iterator[Row]:
    import datasets  # noqa: PLC0415 - it is large, and few need it

    shards = [path / one["filename"] for one in json.loads((path / DATASET).read_bytes())["_data_files"]]
    if not shards:
        return
    for shard in shards:
        _require_end(shard)
    found = datasets.load_from_disk(str(path.resolve())).with_format("arrow")
    require_columns(path, found.column_names, fields, labelled=labelled)
    found = found.select_columns(looked_at(found.column_names, fields))
    named = _class_namer(dict(found.features), datasets.ClassLabel, kind)
    for batch in found.iter(AT_ONCE):
        batch.validate(full=True)  # Arrow trusts the offsets in a file, and a wrong one ends the process
        rows = plain_rows(batch)
        yield from map(named, rows) if named else rows


def _require_end(shard: Path) -> None:
    """Raise ConfigurationError if `shard` is cut off, which Arrow does not notice between two batches of rows."""
    with shard.open("rb") as file:
        file.seek(-min(len(END), shard.stat().st_size), 2)
        if file.read() != END:
            raise ConfigurationError(f"cannot read {shard}: it is cut off")


def _class_namer(feature: Any, class_label: type[Any], kind: type[Label] | None) -> Change | None:
    """Return a function that replaces the classes in a value of `feature` by their names; None if it has none."""
    if isinstance(feature, class_label):
        integers = kind in (None, int) and all(map(INTEGER.fullmatch, feature.names))
        return dict(enumerate(map(int, feature.names) if integers else feature.names)).get
    if isinstance(feature, dict):
        changes = {name: change for name, one in feature.items() if (change := _class_namer(one, class_label, kind))}
        if not changes:
            return None
        return lambda value: value and value | {name: change(value[name]) for name, change in changes.items()}
    listed = getattr(feature, "feature", None)
    each = None if listed is None else _class_namer(listed, class_label, kind)
    return each and (lambda value: value and [each(one) for one in value])
