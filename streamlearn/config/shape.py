"""Whether the settings of ``events`` that say what a value looks like go together."""

from __future__ import annotations

from typing import Any

from streamlearn.config.places import Names, Place, parse

WHOLE_TEXT = "text"
"""What a value that is nothing but text is called."""
NO_DELIMITER = '"\r\n '


def check_shape(events: Any) -> None:
    """Raise ValueError where the settings of the section `events` contradict each other."""
    if events.decoder and events.format != "json":
        raise ValueError("decoder reads the whole record, and format how its value is read; leave one of them out")
    _check_csv(events)
    if events.format == "csv":
        said = "csv.columns has no column of that name, and it is neither key nor header:NAME"
        _check_names(events.fields, set(events.csv.columns), said)
    if events.format == "text":
        said = f"a value that is text has but the field '{WHOLE_TEXT}', all of it; others stand in key or header:NAME"
        _check_names(events.fields, {WHOLE_TEXT}, said)


def _check_csv(events: Any) -> None:
    columns, delimiter, is_csv = events.csv.columns, events.csv.delimiter, events.format == "csv"
    if is_csv and not columns:
        raise ValueError("format: csv needs the names of its columns in order, such as csv: {columns: [text, label]}")
    if columns and not is_csv:
        raise ValueError("csv.columns are named, and format is not csv")
    if len(set(columns)) < len(columns):
        raise ValueError("csv.columns names a column twice")
    if len(delimiter) != 1 or delimiter in NO_DELIMITER:
        raise ValueError(
            "csv.delimiter is one character, such as ';' or a tab, and neither a quotation mark nor a space"
        )


def _check_names(fields: Any, known: set[str], said: str) -> None:
    """Raise ValueError, with `said`, where text or label is looked up in the value under none of the `known` names."""
    for field, setting in (("text", fields.text), ("label", fields.label)):
        places = map(parse, [setting] if isinstance(setting, str) else setting)
        if not any(_may_be_there(place, known) for place in places):
            raise ValueError(f"fields.{field} is nowhere: {said}")


def _may_be_there(place: Place, known: set[str]) -> bool:
    return not isinstance(place, Names) or (len(place.names) == 1 and place.names[0] in known)
