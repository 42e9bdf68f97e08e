"""The commands that control a running learner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.terminal import say, say_json

TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", help="Seconds to wait for what becomes of it; 0 does not wait.", min=0, max=86_400),
]


def pause(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Have the running learner take no more steps until 'resume', a takeover or its end; it keeps its membership.

    Example: streamlearn pause --config streamlearn.yaml
    """
    _tell("pause", config, overrides, json_output)


def resume(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Have a paused learner go on where it was.

    Example: streamlearn resume --config streamlearn.yaml
    """
    _tell("resume", config, overrides, json_output)


def checkpoint(
    config: ConfigOption = None,
    overrides: SetOption = None,
    timeout: TimeoutOption = 60.0,
    json_output: JsonOption = False,
) -> None:
    """Have the running learner write a checkpoint after its current step, and say of which step it is.

    Example: streamlearn checkpoint --config streamlearn.yaml
    """
    _tell("checkpoint", config, overrides, json_output, timeout=timeout)


def publish(
    config: ConfigOption = None,
    overrides: SetOption = None,
    timeout: TimeoutOption = 60.0,
    json_output: JsonOption = False,
) -> None:
    """Have the running learner publish what it has learnt, if that passes the gate, and say as which version.

    Example: streamlearn publish --config streamlearn.yaml
    """
    _tell("publish", config, overrides, json_output, timeout=timeout)


def _tell(
    word: str, config: Path | None, overrides: list[str] | None, json_output: bool, *, timeout: float = 0.0
) -> None:
    settings = configuration(config, overrides)
    from streamlearn.commands.control import tell  # noqa: PLC0415

    told = tell(settings, word, timeout=timeout)
    if json_output:
        done = {"step": told.kept.step, "version": told.kept.version} if told.kept else {}
        say_json({"asked": word, "answer": told.answer, **done})
    else:
        say(told.answer)
