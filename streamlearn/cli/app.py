"""The commands: their arguments, what they call and what they print."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from streamlearn import __version__
from streamlearn.cli.compare import compare
from streamlearn.cli.control import checkpoint, pause, publish, resume
from streamlearn.cli.dead_letters import dead_letters_app
from streamlearn.cli.evaluate import evaluate
from streamlearn.cli.finetune import finetune
from streamlearn.cli.init import init
from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.cli.seek import seek
from streamlearn.cli.snapshots import snapshots_app
from streamlearn.cli.status import status
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.masking import masked
from streamlearn.terminal import readable, say, say_json, say_texts

app = typer.Typer(
    name="streamlearn",
    help="Keeps text classifiers and language models up to date from a Kafka topic.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(snapshots_app, name="snapshots")
app.add_typer(dead_letters_app, name="dead-letters")
app.command()(compare)
app.command()(evaluate)
app.command()(finetune)
app.command()(seek)
app.command()(status)
for control in (pause, resume, checkpoint, publish):
    app.command()(control)
app.command()(init)

MARKS = {True: "✓", False: "✗", None: "–"}


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        say(f"streamlearn {__version__}")
        raise typer.Exit


@app.command()
def run(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Learn from the topic until SIGTERM or Ctrl-C, then checkpoint, publish and leave.

    Example: streamlearn run --config streamlearn.yaml --set updater.learning_rate=5e-5
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.run import run as learn  # noqa: PLC0415

    try:
        learn(settings)
    except StreamlearnError as error:
        if settings.monitor.log_format != "json":
            raise
        logging.getLogger("streamlearn").critical("streamlearn: %s", error)
        raise typer.Exit(error.exit_code) from None


@app.command()
def demo(
    json_output: JsonOption = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running so that you can look around.")] = False,
    output: Annotated[
        Path, typer.Option("--output", help="Where the state, the picture and the summary go.", metavar="DIR")
    ] = Path("demo-output"),
    stream: Annotated[str, typer.Option("--stream", help="newsgroups or sentiment.")] = "newsgroups",
    language_model: Annotated[
        bool, typer.Option("--language-model", help="A language model learns newsgroups, without their labels.")
    ] = False,
) -> None:
    """Run everything on this machine: a broker, a real stream with a drift and malformed records, snapshots, a picture.

    Example: streamlearn demo --keep
    """
    from streamlearn.local.parts import require_parts  # noqa: PLC0415

    require_parts(language_model=language_model)
    if language_model:
        if stream != "newsgroups":
            raise ConfigurationError(f"--stream is '{stream}', and a language model learns newsgroups only")
        from streamlearn.local.demo_lm import run_language_demo  # noqa: PLC0415 - needs the extra [demo-lm]

        run_language_demo(output=output, as_json=json_output, keep=keep)
        return
    from streamlearn.local.demo import run_demo  # noqa: PLC0415 - needs the extra [demo]

    run_demo(output=output, stream=stream, as_json=json_output, keep=keep)


@app.command()
def produce(
    file: Annotated[Path | None, typer.Argument(help="JSON lines; standard input by default, and for -.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    rate: Annotated[float | None, typer.Option(help="Lines per second; as fast as possible by default.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Send a file of JSON lines, or standard input, to the topic.

    Example: echo '{"text": "late again", "label": "complaint"}' | streamlearn produce --set kafka.topic=tickets
    """
    from streamlearn.commands.produce import produce as send  # noqa: PLC0415

    if rate is not None and rate <= 0:
        raise ConfigurationError(f"--rate is {rate:g}, and must be above 0")
    settings = configuration(config, overrides)
    try:
        source = sys.stdin.buffer if file in (None, Path("-")) else file.open("rb")
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None
    with source:
        sent = send(settings.kafka, source, rate=rate, progress=_progress)
    if json_output:
        say_json({"sent": sent, "topic": settings.kafka.topic})
    else:
        say(f"sent {sent} line{'s' * (sent != 1)} to {settings.kafka.topic}")


def _progress(sent: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{sent} lines")
    elif sent % 10_000 == 0:
        sys.stderr.write(f"{sent} lines\n")


@app.command()
def check(
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    sample: Annotated[
        int, typer.Option("--sample", help="Say what would become of this many of the newest records.", min=0, max=1000)
    ] = 0,
) -> None:
    """Check the configuration, the broker, the topics, the model and the directory, and say what to do.

    Example: streamlearn check --config streamlearn.yaml --sample 20
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.check import check as look  # noqa: PLC0415 - torch takes seconds to import

    findings = []
    if not json_output:
        say("✓ configuration: every key is known and fits")
    for finding in look(settings, sample=sample):
        findings.append(finding)
        if not json_output:
            say(f"{MARKS[finding.ok]} {finding.subject}: {finding.found}")
            for record in finding.records:
                say(f"  {_sampled(record)}")
    if json_output:
        say_json(
            {
                "configuration": settings.masked(),
                "findings": [{"subject": f.subject, "ok": f.ok, "found": masked(f.found)} for f in findings],
                **({"sample": [asdict(record) for record in findings[-1].records]} if sample else {}),
            }
        )
    failed = [finding.error for finding in findings if finding.error]
    if failed:
        raise typer.Exit(failed[0].exit_code)


def _sampled(record: Any) -> str:
    """Return the line of ``check --sample`` for a record."""
    became = "event" if record.reason is None else f"{record.reason.value}: {record.detail}".removesuffix(": ")
    fields = "; ".join(f"{field} {found}" for field, found in record.found.items())
    return f"{record.partition}/{record.offset} {became}; {fields or record.value}" + (
        f"; the value is {record.value}" if record.reason and fields else ""
    )


@app.command()
def predict(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; by default the lines of standard input, except empty ones.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    snapshot: Annotated[str, typer.Option(help="A version, 'latest', or the path of a snapshot.")] = "latest",
    json_output: JsonOption = False,
) -> None:
    """Label texts with a published snapshot, or let a language model continue them.

    Example: streamlearn predict --snapshot demo-output/state/snapshots/latest "my bike needs a new clutch"
    """
    from streamlearn.commands.predict import continue_texts, continues  # noqa: PLC0415
    from streamlearn.commands.predict import predict as label  # noqa: PLC0415

    path = _snapshot_path(snapshot, config, overrides)
    lines = (line.rstrip("\r\n") for line in sys.stdin if line.strip())
    given = map(readable, texts) if texts else lines
    if continues(path):
        for continued in continue_texts(path, given):
            if json_output:
                say_json(asdict(continued))
            else:
                say_texts(continued.text + continued.continuation)
        return
    for found in label(path, given):
        if json_output:
            say_json({"text": found.text, "label": found.label, "score": found.score})
        else:
            say_texts(found.label, f"{found.score:.3f}", found.text)


def _snapshot_path(name: str, config: Path | None, overrides: list[str] | None) -> Path:
    from streamlearn.commands.snapshots import is_version, path_of  # noqa: PLC0415

    path = Path(name)
    if "/" in name or (not is_version(name) and path.is_dir()):
        if not path.is_dir():
            raise ConfigurationError(f"there is no snapshot at {path}")
        return path
    return path_of(configuration(config, overrides), name)


@app.command()
def rebuild(
    version: Annotated[str, typer.Option("--version", help="A version or 'latest'.")] = "latest",
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Rebuild a snapshot from an older checkpoint and the topic; exit with 1 if a bit differs.

    Example: streamlearn rebuild --config streamlearn.yaml --version 12
    """
    settings = configuration(config, overrides)
    from streamlearn.commands.rebuild import rebuild as make_again  # noqa: PLC0415 - torch takes seconds to import

    made = make_again(settings, version)
    if json_output:
        say_json(asdict(made))
    else:
        say(
            f"snapshot {made.version} rebuilt from step {made.from_step} to {made.step}, {made.events} events: "
            + (made.difference or f"all {made.tensors} tensors have the same bits")
        )
    if made.difference:
        raise typer.Exit(1)


@app.command("replay", hidden=True)
@wraps(compare)
def _replay(**arguments: Any) -> None:
    """Run :func:`compare` under its former name."""
    say("streamlearn: 'replay' is called 'compare' now", error=True)
    compare(**arguments)
