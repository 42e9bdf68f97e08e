"""The command that writes a first configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamlearn.cli.options import SetOption, configuration
from streamlearn.config.layers import merge
from streamlearn.terminal import say


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")] = Path(
        "streamlearn.yaml"
    ),
    overrides: SetOption = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the schema for editors instead, and write no file.")
    ] = False,
) -> None:
    """Write a configuration in which every setting is explained, and a schema for editors beside it.

    Example: streamlearn init --set kafka.topic=tickets --set events.fields.text=payload.body
    """
    from streamlearn.commands.init import init as write  # noqa: PLC0415 - the reference is made of it
    from streamlearn.commands.init import schema_text  # noqa: PLC0415

    if schema:
        typer.echo(schema_text(), nl=False)
        return
    configuration(None, overrides)
    for path in write(file, merge(None, {}, overrides or [])):
        say(f"wrote {path}")
    say(f"next: streamlearn check --config {file}")
