"""The commands about dead letters, whose output contains no text of a record unless requested."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.cli.progress import ProgressLine
from streamlearn.records import DeadLetter
from streamlearn.terminal import say, say_json, say_texts

dead_letters_app = typer.Typer(no_args_is_help=True, help="Look at refused records, and send them again.")
ReasonOption = Annotated[
    str | None,
    typer.Option(
        "--reason", help="Only those refused for this reason: missing_field, or 'missing_field: label'.", metavar="R"
    ),
]
ValuesOption = Annotated[bool, typer.Option("--show-values", help="Print keys, headers and values, with their texts.")]
PLACE = "TOPIC/PARTITION/OFFSET"
MOST_NAMED = 10


@dead_letters_app.command("list")
def list_letters(
    reason: ReasonOption = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only those refused since then: 30m, 2h, 7d, or 2026-11-26T09:30.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Print this many of the newest.", min=1, max=100_000)] = 20,
    show_values: ValuesOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """List refused records with their reasons, oldest first; their texts only if asked for.

    Example: streamlearn dead-letters list --reason missing_field --since 2h
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.dead_letters import listed  # noqa: PLC0415

    with Progress() as progress:
        found = listed(settings, limit=limit, reason=reason, since=since, progress=progress)
    rows = [_row(letter, redriven=letter.origin in found.redriven, values=show_values) for letter in found.letters]
    topic = settings.kafka.dead_letter_topic
    if json_output:
        say_json({"topic": topic, "counts": dict(found.counts.most_common()), "others": found.others, "letters": rows})
        return
    reasons = ", ".join(f"{count} {why}" for why, count in found.counts.most_common())
    total = found.counts.total()
    say(f"{total} dead letters in {topic}" + (f": {reasons}" if total else "") + _more(total, len(rows)))
    for row in rows:
        marks = [f"stub: {row['stub']}"] * bool(row["stub"]) + ["redriven"] * row["redriven"]
        say("  ".join([row["refused_at"], row["record"], row["why"], _bytes(row["value_length"]), *marks]))
        if show_values:
            say_texts("", row["value"])
    if found.others:
        say(f"{found.others} other records in it are not streamlearn's dead letters")


def _more(total: int, printed: int) -> str:
    return f"; the newest {printed}:" if printed < total else ""


@dead_letters_app.command("show")
def show_letter(
    place: Annotated[
        str, typer.Argument(metavar=PLACE, help="Where the record was, or its letter in the dead-letter topic.")
    ],
    show_values: ValuesOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show why a record was refused, what it is like, and what would become of it now.

    Example: streamlearn dead-letters show tickets/0/4711
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.dead_letters import shown  # noqa: PLC0415

    with Progress() as progress:
        found = shown(settings, place, progress=progress)
    letter, now = found.letter, found.now
    row = _row(letter, redriven=found.redriven, values=show_values)
    row |= {"letter": f"{settings.kafka.dead_letter_topic}/{letter.partition}/{letter.offset}"}
    if now:
        refused = f"{now.reason.value}: {now.detail}".removesuffix(": ") if now.reason else None
        row |= {"value_is": now.value, "found": now.found, "now": f"refused: {refused}" if refused else "an event"}
    if json_output:
        say_json(row)
        return
    for name, value in row.items():
        if name in {"key", "value"}:
            say_texts(f"{name:>14}", value)
        elif name == "headers":
            for header, held in value:
                say_texts(f"{'header':>14}", header, held)
        elif name == "found":
            for field, where in value.items():
                say(f"{field:>14}  {where}")
        elif name not in {"reason", "detail"}:
            say(f"{name.replace('_', ' '):>14}  {_shown(value)}")


@dead_letters_app.command("redrive")
def redrive_letters(
    places: Annotated[
        list[str] | None, typer.Argument(metavar=f"[{PLACE}]...", help="Only these; by default all.")
    ] = None,
    reason: ReasonOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Send refused records to the topic of events again, each of them once, however often this is run or interrupted.

    Records that the configuration would refuse again stay where they are: give the one that the learner runs with.

    Example: streamlearn dead-letters redrive --reason missing_field --dry-run
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.dead_letters import redriven  # noqa: PLC0415

    with Progress() as progress:
        found = redriven(settings, places or [], reason=reason, dry_run=dry_run, progress=progress)
    if json_output:
        figures = {"sent": found.sent, "redriven_before": found.before, "still_refused": dict(found.still_refused)}
        odd = {"not_held": found.not_held, "not_taken": found.not_taken, "of_other_topics": found.elsewhere}
        say_json({"topic": settings.kafka.topic, "dry_run": dry_run, **figures, **odd})
        return
    say(f"{found.sent} records {'would be' if dry_run else 'were'} sent to {settings.kafka.topic}")
    if found.before:
        say(f"{found.before} have been redriven before")
    if found.still_refused:
        reasons = ", ".join(f"{count} {why}" for why, count in found.still_refused.most_common())
        say(f"{found.still_refused.total()} would be refused again by this configuration: {reasons}")
    if found.not_held:
        names = _names(found.not_held)
        say(f"{len(found.not_held)} cannot be redriven, since their letters do not hold the record: {names}")
    if found.not_taken:
        refused = [f"{origin} ({error})" for origin, error in found.not_taken.items()]
        say(f"{len(refused)} are not taken by Kafka: {_names(refused)}")
    if found.elsewhere:
        say(f"{found.elsewhere} are about records of other topics")


class Progress(ProgressLine):
    """Shows the progress."""

    def __call__(self, line: str) -> None:
        """Show `line`, if an update is due."""
        if self.is_due:
            self.show(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def _row(letter: DeadLetter, *, redriven: bool, values: bool) -> dict[str, Any]:
    """Return what is shown of `letter`; the contents of the record only with `values`."""
    record = letter.record
    row: dict[str, Any] = {
        "record": str(letter.origin),
        "refused_at": _time(letter.refused_at),
        "why": letter.why,
        "reason": letter.reason,
        "detail": letter.detail,
        "timestamp": _time(record.timestamp),
        "key_length": -1 if record.key is None else len(record.key),
        "value_length": letter.value_length,
        "header_count": len(record.headers),
        "stub": letter.stub,
        "redriven": redriven,
    }
    if values:
        headers = [[name, _text(held)] for name, held in record.headers]  # several may have the same name
        row |= {"key": _text(record.key), "headers": headers, "value": _text(record.value)}
    return row


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="backslashreplace")


def _time(milliseconds: int | None) -> str:
    if milliseconds is None or milliseconds < 0:
        return "-"
    try:
        return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "-"


def _bytes(length: int) -> str:
    return "null" if length < 0 else f"{length} bytes"


def _shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value) or "-"


def _names(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
