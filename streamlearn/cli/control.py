"""The commands that tell a running learner what to do."""

from __future__ import annotations

from pathlib import Path

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.terminal import say, say_json


def pause(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Have the running learner take no more steps until 'resume', or until its process ends; it keeps its membership.

    Example: streamlearn pause --config streamlearn.yaml
    """
    _tell("pause", config, overrides, json_output)


def resume(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Have a paused learner go on where it was.

    Example: streamlearn resume --config streamlearn.yaml
    """
    _tell("resume", config, overrides, json_output)


def checkpoint(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Have the running learner write a checkpoint after its current step.

    Example: streamlearn checkpoint --config streamlearn.yaml
    """
    _tell("checkpoint", config, overrides, json_output)


def publish(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Have the running learner publish what it has learnt, if that passes the gate, with a checkpoint.

    Example: streamlearn publish --config streamlearn.yaml
    """
    _tell("publish", config, overrides, json_output)


def _tell(word: str, config: Path | None, overrides: list[str] | None, json_output: bool) -> None:
    settings = configuration(config, overrides)
    from streamlearn.commands.control import tell  # noqa: PLC0415

    said = tell(settings, word)
    if json_output:
        say_json({"asked": word, "answer": said})
    else:
        say(said)
