"""The command that compares settings on recorded traffic: its arguments, table and plot."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.errors import ConfigurationError
from streamlearn.terminal import say, say_json

if TYPE_CHECKING:
    from streamlearn.commands.compare import Beginning, Course
    from streamlearn.config import Config


def compare(
    from_step: Annotated[
        int | None, typer.Option("--from-step", min=0, help="Begin from the state after this step.")
    ] = None,
    to_step: Annotated[
        int | None, typer.Option("--to-step", help="The last step; by default the last recorded one.")
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="Another configuration: a file in place of --config, or KEY=VALUE on top of it; may be repeated.",
            metavar="FILE|KEY=VALUE",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the accuracy of each over events to it.", metavar="FILE")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Show the steps that a comparison can begin with, and end.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Re-run a recorded stretch of the stream under other configurations, beside the recorded one.

    Without --with, the other configuration is that of --config and --set.

    Example: streamlearn compare --from-step 4000 --with updater.learning_rate=1e-4 --with updater.experts=frozen
    """
    settings = configuration(config, overrides)
    if list_only:
        _list(settings, json_output)
        return
    if from_step is None:
        raise ConfigurationError("say where to begin with --from-step; --list shows what can be reached")
    if plot:
        from streamlearn.commands.curve import require_drawable  # noqa: PLC0415

        require_drawable(plot)
    compared = {other: _other(other, config, overrides or []) for other in others or []}
    from streamlearn.commands.compare import compare as run_again  # noqa: PLC0415 - torch takes seconds to import

    courses = run_again(settings, compared, from_step=from_step, to_step=to_step)
    if plot:
        from streamlearn.commands.curve import draw_courses  # noqa: PLC0415

        name = "bits per byte" if courses[0].objective == "language_model" else "accuracy"
        draw_courses({course.configuration: course.each for course in courses}, plot, name=name)
    show(courses, json_output)


def _other(said: str, config: Path | None, overrides: list[str]) -> Config:
    """Return the configuration described by `said`."""
    if "=" in said:
        return configuration(config, [*overrides, said])
    return configuration(Path(said), overrides)


def show(courses: list[Course], json_output: bool) -> None:
    """Print the figures of `courses`, which have one objective, as a table or as JSON."""
    rows = [course.figures() for course in courses]
    if json_output:
        say_json(rows)
        return
    widest = max(len("configuration"), *(len(course.configuration) for course in courses))
    for cells in (list(rows[0]), *(list(map(_figure, row.values())) for row in rows)):
        say("  ".join([f"{cells[0]:>{widest}}", *(f"{cell:>11}" for cell in cells[1:])]))


def _list(settings: Config, json_output: bool) -> None:
    from streamlearn.commands.compare import beginnings  # noqa: PLC0415 - torch takes seconds to import

    found: list[Beginning] = beginnings(settings)
    if json_output:
        say_json([asdict(one) for one in found])
    elif not found:
        say(f"{settings.publisher.directory} holds no checkpoint yet: there is nothing to begin with")
    else:
        say(f"{'--from-step':>12}  {'made':<25}  recorded to step")
        for one in found:
            say(f"{one.step:>12}  {one.made:<25}  {one.recorded_to}")


def _figure(value: float | str | None) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
