"""The evaluate command: its progress and its output."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.cli.progress import ProgressLine
from streamlearn.errors import ConfigurationError, StreamlearnError
from streamlearn.terminal import say, say_json

if TYPE_CHECKING:
    from streamlearn.commands.evaluate import Evaluation
    from streamlearn.commands.measures import Measures
    from streamlearn.commands.tally import Tally

COLUMNS = ("events", "accuracy", "macro-F1", "kappa", "calibration", "log loss")


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="JSON lines, as producers write them.", metavar="FILE")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw accuracy and loss over events to it.", metavar="FILE")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run the whole learner over a file: predict each event, then learn it, and say how often it was right.

    A line may name the "part" of the stream that it belongs to; each part is then also measured on its own.

    Example: streamlearn evaluate --data tickets.jsonl --config streamlearn.yaml --plot tickets.png
    """
    settings = configuration(config, overrides)
    if plot:
        from streamlearn.commands.curve import require_drawable  # noqa: PLC0415

        require_drawable(plot)
    try:
        file = data.open("rb")
    except OSError as error:
        raise ConfigurationError(f"cannot read {data}: {error.strerror}") from None
    from streamlearn.commands.evaluate import evaluate as run_over  # noqa: PLC0415 - torch takes seconds to import

    progress = Progress()
    with file:
        try:
            found, tally = run_over(settings, file, progress=progress)
        except OSError as error:
            raise StreamlearnError(f"cannot read on in {data}: {error.strerror}") from None
        finally:
            progress.clear()
    if json_output:
        say_json(asdict(found))
    else:
        _show(found)
    if plot:
        from streamlearn.commands.curve import draw  # noqa: PLC0415

        draw(tally, plot)


class Progress(ProgressLine):
    """Shows the progress of the learner, and its results on each part.

    Its parameter is that of :class:`~streamlearn.cli.progress.ProgressLine`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._parts: list[str] = []

    def __call__(self, tally: Tally) -> None:
        """Show `tally`, if an update is due."""
        for part in list(tally.parts)[len(self._parts) :]:
            if self._parts:
                self.say(f"part {self._parts[-1]}: {_in_words(tally.parts[self._parts[-1]].measures())}")
            self._parts.append(part)
        if not self.is_due or not tally.whole.events:
            return
        last = tally.correct[-500:]
        accuracy, rate = sum(last) / len(last), tally.whole.events / self.seconds
        self.show(f"{tally.lines} lines, accuracy {accuracy:.3f} over the last {len(last)}, {rate:.0f} events/s")


def _in_words(measures: Measures) -> str:
    return f"{measures.events} events, accuracy {measures.accuracy:.3f}, log loss {measures.log_loss:.3f}"


def _show(found: Evaluation) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in found.reasons.items())
    counts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in found.outcomes.items() if count)
    say(f"{found.lines} lines: {counts}" + (f" ({reasons})" if reasons else ""))
    rows = {"all": found.whole} | {f"part {name}": measures for name, measures in found.parts.items()}
    width = max(map(len, rows))
    say("  ".join([" " * width, *(f"{name:>11}" for name in COLUMNS)]))
    for name, measures in rows.items():
        figures = [measures.accuracy, measures.macro_f1, measures.kappa, measures.calibration_error, measures.log_loss]
        shown = ["-" if figure is None else f"{figure:.4f}" for figure in figures]
        say("  ".join([f"{name:<{width}}", *(f"{figure:>11}" for figure in (measures.events, *shown))]))
    say("recall: " + ", ".join(f"{label} {recall:.3f}" for label, recall in found.whole.recall.items()))
    for name, expert in found.experts.items():
        loss = "-" if expert.log_loss is None else f"{expert.log_loss:.4f}"
        weight = "-" if expert.weight is None else f"{expert.weight:.3f}"
        left_out = "".join(f", left out of {steps} steps ({reason})" for reason, steps in expert.left_out.items())
        say(f"expert {name}: log loss {loss}, weight {weight}{left_out}")
    held_out = {split: accuracy for split, accuracy in found.hold_out.items() if accuracy is not None}
    if held_out:
        say("held out: " + ", ".join(f"{split} {accuracy:.3f}" for split, accuracy in held_out.items()))
    say(f"{found.events_per_second:.0f} events/s in {found.seconds:.1f} s")
