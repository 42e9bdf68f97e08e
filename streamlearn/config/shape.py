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


def check_places(config: Any) -> None:
    """Raise ValueError where `config`, the whole tree, looks up a text or a label that no value has."""
    events = config.events
    if events.format == "csv":
        known = set(events.csv.columns)
        said = "csv.columns has no column of that name, and it is neither key nor header:NAME"
    elif events.format == "text":
        known = {WHOLE_TEXT}
        said = f"with format: text the whole value is the field '{WHOLE_TEXT}'; any other is in key or header:NAME"
    else:
        return
    for field, places in events.fields.required(labelled=config.labelled).items():
        if not any(_may_be_there(parse(place), known) for place in places):
            raise ValueError(f"events.fields.{field} names nothing that a value has: {said}")


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


def _may_be_there(place: Place, known: set[str]) -> bool:
    return not isinstance(place, Names) or (len(place.names) == 1 and place.names[0] in known)
