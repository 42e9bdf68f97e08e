"""The command line: it parses, calls and prints, and contains no other logic."""

from __future__ import annotations

import sys
from typing import Any

import typer

from streamlearn.cli.app import app
from streamlearn.errors import StreamlearnError
from streamlearn.terminal import prepare, say
from streamlearn.unforeseen import unforeseen

UsageError: Any = typer.BadParameter.__base__  # typer does not export it


def main() -> None:
    """Run a command; a user's mistake ends in one sentence and its exit code."""
    prepare()
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UsageError as error:
        message, context = error.format_message(), error.ctx
        if context and message == context.get_help():  # no command was given
            typer.echo(message, err=True)
        else:
            say(f"streamlearn: {message} (see {context.command_path if context else 'streamlearn'} --help)", error=True)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)
    except StreamlearnError as error:
        say(f"streamlearn: {error}", error=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a sentence
        say(f"streamlearn: {unforeseen('main', error)}", error=True)
        sys.exit(1)
