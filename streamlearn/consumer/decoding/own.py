"""Values decoded by a user's own function."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streamlearn.consumer.decoding.fields import RefusedError
from streamlearn.errors import ConfigurationError
from streamlearn.events import Reason
from streamlearn.records import Record


def own_tree(spelled: str) -> Callable[[Record], Any]:
    """Return the decoder of a record into a mapping by the function `spelled`, ``module:function``.

    If the function raises, or does not return a mapping, the record is refused. It has to be pure: a record that is
    read again must give the same result.

    Raises
    ------
    ConfigurationError
        If there is no such function.

    """
    function = _function(spelled)

    def tree(record: Record) -> Any:
        try:
            found = function(record)
            if isinstance(found, Mapping):
                return dict(found)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this record
            raise RefusedError(Reason.DECODER, _where(error)) from None
        raise RefusedError(Reason.DECODER, f"it returned {type(found).__name__}, and no mapping")

    return tree


def _function(spelled: str) -> Callable[[Record], Any]:
    module, _, path = spelled.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - a module may raise anything when it is imported
        said = " ".join(str(error).split())
        raise ConfigurationError(
            f"events.decoder: the module {module} cannot be imported ({type(error).__name__}: {said}); it has to be "
            "installed, or to stand in a directory of PYTHONPATH"
        ) from None
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise ConfigurationError(f"events.decoder: the module {module} has no function {path}")
    function: Callable[[Record], Any] = found
    return function


def _where(error: Exception) -> str:
    """Return the type of `error` and where it was raised, without its message, which may contain the event's text."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name}, {Path(frames[-1].filename).name} line {frames[-1].lineno}"
