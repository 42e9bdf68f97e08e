"""The command that shows the status of a learner on one screen."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.terminal import say, say_json

if TYPE_CHECKING:
    from streamlearn.commands.status import Status

MOST_EXPERTS = 4
COUNTABLE = {"duplicate", "record", "partition", "day", "hour", "minute", "second"}


def status(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Show how the learner on this machine is doing or, if none runs, what the last one has left on disk.

    Example: streamlearn status --config streamlearn.yaml
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.status import status as look  # noqa: PLC0415

    found = look(settings)
    if json_output:
        on_disk = {"checkpoint": found.checkpoint, "past": found.past, "snapshot": found.snapshot}
        say_json({"running": found.live is not None, "url": found.url, "live": found.live, **on_disk})
        return
    if found.live is None:
        say(f"no learner answers at {found.url}; {settings.publisher.directory} holds what the last one has left")
    else:
        say(f"learner at {found.url}: {found.live['state']}")
        for one in found.live.get("waits", []):  # older learners do not report it
            say(f"  {one['text']} (for {_span(found.live['now'] - one['since'])})")
    for name, value in (_rows(found.live or found.past) | _disk(found)).items():
        say(f"{name:>14}  {value}")


def _rows(live: dict[str, Any] | None) -> dict[str, str]:
    if live is None:
        return {}
    counts = ", ".join(_counted(count, name) for name, count in live["counts"].items() if name != "dead_letter")
    reasons = ", ".join(f"{count} {reason}" for reason, count in live["dead_letters"]["reasons"].items())
    latest, lag, buffer, drifts = live["latest"] or {}, live["lag"], live["buffer"], live["drifts"]
    figures = {name.replace("_", " "): value for name, value in latest.items() if value is not None}
    experts = sorted(live["experts"], key=lambda one: -one["weight"])[:MOST_EXPERTS]
    rows = {
        "topic": f"{live['topic']}, group {live['group']}",
        "step": str(live["step"]),
        "records": counts or "none yet",
        "dead letters": reasons,
        "figures": ", ".join(f"{name} {value:.3f}" for name, value in figures.items()),
        "lag": f"{_counted(sum(lag.values()), 'record')} in {_counted(len(lag), 'partition')}" if lag else "",
        "buffer": f"{buffer['records']} of {buffer['capacity']} events" if buffer["capacity"] else "",
        "experts": ", ".join(f"{one['name']} {one['weight']:.2f}" for one in experts),
        "drifts": f"{len(drifts)}, the last one at event {drifts[-1]['events']}" if drifts else "",
    }
    return {name: value for name, value in rows.items() if value}


def _counted(count: int, thing: str) -> str:
    """Return `count` with the name of what is counted, in the plural if needed."""
    plural = "s" if count != 1 and thing in COUNTABLE else ""
    return f"{count} {thing.replace('_', ' ')}{plural}"


def _disk(found: Status) -> dict[str, str]:
    rows = {}
    if found.checkpoint:
        rows["checkpoint"] = f"of step {found.checkpoint['step']}, {_ago(found.checkpoint['written'])}"
    if found.snapshot:
        of = found.snapshot
        figures = {name: value for name, value in of["metrics"].items() if isinstance(value, float)}
        shown = "".join(f", {name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
        rows["snapshot"] = f"{of['version']} of step {of['step']}, {_ago(of['created'])}{shown}"
    return rows


def _ago(moment: float) -> str:
    """Return when `moment` was, and how long ago."""
    at = datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")
    return f"{at} ({_span(time.time() - moment)} ago)"


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    units = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
    size, unit = next((size, unit) for size, unit in units if seconds >= size or size == 1)
    return _counted(round(seconds / size), unit)
