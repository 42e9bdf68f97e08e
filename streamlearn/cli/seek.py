"""The command that moves a stopped learner to another position in its topic."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.errors import ConfigurationError
from streamlearn.terminal import say, say_json

if TYPE_CHECKING:
    from streamlearn.commands.seek import Sought


def seek(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="earliest, latest, timestamp:2026-11-26T09:30:00Z (or Unix seconds), or offsets:0=1200,1=980.",
            metavar="PLACE",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Move back, so that events are learnt again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and change nothing.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Have a stopped learner go on from another place in its topic, with all that it has learnt.

    Moved forward it never learns what it passes over; moved back it learns again what comes again.

    Example: streamlearn seek --config streamlearn.yaml --to timestamp:2026-11-26T09:30:00Z --dry-run
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.seek import plan  # noqa: PLC0415 - torch takes seconds to import
    from streamlearn.commands.seek import seek as move  # noqa: PLC0415

    found = plan(settings, to) if dry_run else move(settings, to, back=yes)
    if not found.done and not dry_run:
        if not json_output:
            _say_moves(found)
        raise ConfigurationError(
            f"{found.again} offsets would be read once more and what they hold be learnt again: "
            "give --yes for that, or --dry-run"
        )
    if json_output:
        moves = [asdict(one) for one in found.moves]
        figures = {"skipped": found.skipped, "again": found.again, "untold": found.untold or None}
        say_json({"step": found.step if moves else None, "moves": moves, **figures, "done": found.done})
        return
    _say_moves(found)
    if not found.moves:
        say("the learner is there already: nothing is to be moved")
    elif found.done:
        say(f"recorded as step {found.step}: the next learner goes on from there")
    else:
        say("nothing has changed: this was a dry run")
    if found.untold:
        say(f"the group was not told ({found.untold}): its lag is right after the learner's next checkpoint")


def _say_moves(sought: Sought) -> None:
    for move in sought.moves:
        begin = "its beginning" if move.before is None else str(move.before)
        moved = f"{move.topic}/{move.partition}: {'moved' if sought.done else 'would move'} from {begin} to {move.to}"
        if move.again:
            say(f"{moved}; {move.again} offsets back, whose events are learnt again")
        else:
            say(f"{moved}; {move.skipped} offsets ahead, whose events are never learnt")
