"""The options that commands share, and the configuration made from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from streamlearn.config import Config, load
from streamlearn.config.layers import merge, variable
from streamlearn.errors import ConfigurationError
from streamlearn.masking import hide, is_secret, secrets_in, shown_key


def complete_key(incomplete: str) -> list[str]:
    """Return the settings that begin with what has been typed after ``--set``, with an equals sign."""
    from streamlearn.config.reference import settings  # noqa: PLC0415 - only a shell asks for it

    return [f"{one.key}=" for one in settings() if not one.is_section and one.key.startswith(incomplete)]


ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file with the configuration.", metavar="FILE")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        help="Overrides one value; may be repeated.",
        metavar="KEY=VALUE",
        autocompletion=complete_key,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def configuration(config: Path | None, overrides: list[str] | None) -> Config:
    """Return the configuration in the file `config`, the environment and `overrides`.

    Raises
    ------
    ConfigurationError
        If it is invalid, or `overrides` contain a secret.

    """
    for override in overrides or []:
        tree = merge(None, {}, [override])
        hide(tree)
        for key in map(shown_key, secrets_in(tree)):
            file = f", or {variable(key)}_FILE to the path of a file that holds it" if is_secret(key) else ""
            raise ConfigurationError(
                f"--set {key}: everybody on this machine can read a command line; set {variable(key)}{file}"
            )
    return load(config, environment=os.environ, overrides=overrides or [])
