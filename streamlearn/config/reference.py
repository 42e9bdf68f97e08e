"""Every setting with what it takes, its default, its unit and what it does: the reference, made of the models.

>>> next(setting for setting in settings() if setting.key == "updater.micro_batch").default
'4'
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamlearn.config import Config
from streamlearn.config.bounds import Section, Unit

DIALECT = "http://json-schema.org/draft-07/schema#"  # the one that all editors know
IDENTITY = "streamlearn:configuration"
WIDTH = 10**6  # of a line of YAML: a value is never broken


@dataclass(frozen=True)
class Setting:
    """One key of the tree.

    Attributes
    ----------
    key
        Its place in the tree, with dots.
    text
        What it does and what it trades.
    values
        What it takes, in words; empty for a section.
    default
        Its default in YAML; None for a section, and where it has to be given.
    unit
        What its number counts; empty where it is no number, or one without a unit.
    optional
        Whether it is a section that is not there unless it is given.

    """

    key: str
    text: str
    values: str = ""
    default: str | None = None
    unit: str = ""
    optional: bool = False

    @property
    def is_section(self) -> bool:
        """Whether it holds settings and has no value of its own."""
        return not self.values


def settings(model: type[BaseModel] = Config, path: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield the settings and sections of `model`, which stands at `path`, in their order; a section before its own."""
    for name, field in model.model_fields.items():
        key, text = ".".join((*path, name)), " ".join((field.description or "").split())
        section = _section(field.annotation)
        if section:
            yield Setting(key, text, optional=field.default is None)
            yield from settings(section, (*path, name))
        else:
            described = schema()["definitions"][model.__name__]["properties"][name]
            yield Setting(key, text, _values(described), _default(field), _unit(field.annotation, field.metadata))


@cache
def schema() -> Mapping[str, Any]:
    """Return the JSON Schema of a configuration file, for editors; a section may be empty, as in a file."""
    made = Config.model_json_schema(ref_template="#/definitions/{model}")
    models = {**made.pop("$defs"), Config.__name__: {key: made[key] for key in ("properties", "additionalProperties")}}
    for model in models.values():
        for described in model["properties"].values():
            described.pop("title", None)
            reference = described.pop("$ref", None)
            if reference:
                described.pop("default", None)
                described["anyOf"] = [{"$ref": reference}, {"type": "null"}]
    return {
        "$schema": DIALECT,
        "$id": IDENTITY,
        "title": "The configuration of streamlearn",
        "$ref": f"#/definitions/{Config.__name__}",
        "definitions": {name: {"type": "object", **model} for name, model in models.items()},
    }


def as_yaml(value: Any) -> str:
    """Return `value` in one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=WIDTH, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _section(annotation: Any) -> type[Section] | None:
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, Section)), None)


def _default(field: FieldInfo) -> str | None:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return None
    return as_yaml(str(value) if isinstance(value, Path) else value)


def _unit(annotation: Any, metadata: list[Any]) -> str:
    found = (part.name for part in metadata if isinstance(part, Unit))
    inner = (_unit(kind, list(getattr(kind, "__metadata__", ()))) for kind in get_args(annotation))
    return next(found, "") or next(filter(None, inner), "")


def _values(described: Mapping[str, Any]) -> str:
    """Return in words what a value that is `described` by a schema may be."""
    if "anyOf" in described:
        return " or ".join(_values(choice) for choice in described["anyOf"])
    if "enum" in described:
        return ", ".join(f"`{value}`" for value in described["enum"])
    if "const" in described:
        return f"`{as_yaml(described['const'])}`"
    kind = described.get("type", "")
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + _range(described)
    if kind == "array":
        items = _values(described["items"])
        return f"list of {items}" if "anyOf" not in described["items"] else f"list of ({items})"
    words = {"null": "`null`", "boolean": "`true`, `false`", "object": "mapping", "string": "text"}
    return "path" if described.get("format") == "path" else words[kind]


def _range(described: Mapping[str, Any]) -> str:
    least, above = described.get("minimum"), described.get("exclusiveMinimum")
    most, below = described.get("maximum"), described.get("exclusiveMaximum")
    lower = f"from {_number(least)}" if least is not None else f"above {_number(above)}" if above is not None else ""
    upper = f"to {_number(most)}" if most is not None else f"below {_number(below)}" if below is not None else ""
    return "".join(f" {bound}" for bound in (lower, upper) if bound)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else json.dumps(value)
