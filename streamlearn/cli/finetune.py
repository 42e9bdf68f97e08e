"""The finetune command: its progress and its output."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.cli.progress import ProgressLine
from streamlearn.errors import ConfigurationError
from streamlearn.terminal import say, say_json

if TYPE_CHECKING:
    from streamlearn.commands.finetuning import Epoch, Outcome, Standing

FILE = "JSON lines, .csv, .parquet, or a directory that the package datasets saved"


def finetune(
    output: Annotated[Path, typer.Option("--output", help="The directory of the model.", metavar="DIR")],
    data: Annotated[Path | None, typer.Option("--data", help=f"What to learn: {FILE}.", metavar="FILE")] = None,
    from_topic: Annotated[
        bool, typer.Option("--from-topic", help="Learn what kafka.topic retains, without joining the group.")
    ] = False,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            help="Examples that choose the epoch; by default events.holdout_ratio of the texts are held out.",
            metavar="FILE",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test",
            help="Examples that are only reported on; by default half of what is held out, if anything is.",
            metavar="FILE",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="The most passes over the data.")] = 5,
    patience: Annotated[
        int, typer.Option("--patience", min=1, help="End after this many passes without improvement.")
    ] = 2,
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Learn a file of texts, or a topic's past, in several passes, and leave a model for 'run' to start from.

    A classifier learns their labels; with updater.objective=language_model the texts themselves are learnt.
    If it is killed, the same command continues where it was.

    Example: streamlearn finetune --data train.jsonl --test test.jsonl --output tickets-model
    """
    if (data is None) != from_topic:
        raise ConfigurationError("say what to learn: either --data FILE or --from-topic")
    settings = configuration(config, overrides)
    from streamlearn.commands.finetuning import finetune as tune  # noqa: PLC0415 - torch takes seconds to import

    progress = Progress()
    try:
        outcome = tune(
            settings,
            data,
            output=output,
            validation=validation,
            test=test,
            epochs=epochs,
            patience=patience,
            progress=progress,
            passed=progress.passed,
        )
    finally:
        progress.clear()
    if json_output:
        say_json(asdict(outcome))
    else:
        _show(outcome)


class Progress(ProgressLine):
    """Shows the progress, and the results of each pass."""

    def passed(self, epoch: Epoch) -> None:
        """Show the results of a pass."""
        self.say(f"epoch {epoch.number}: validation {epoch.validation.in_words()}, {epoch.seconds:.0f} s")

    def __call__(self, now: Standing) -> None:
        """Show the progress `now`, if an update is due."""
        if self.is_due:
            self.show(f"epoch {now.epoch} of at most {now.epochs}: {now.taken} of {now.examples} examples")


def _show(outcome: Outcome) -> None:
    refused = ", ".join(f"{count} {reason}" for reason, count in outcome.refused.items())
    odd = [f"refused: {refused}"] if refused else []
    odd += [f"{outcome.duplicates} repeated ids"] if outcome.duplicates else []
    labels = f" of {outcome.labels} labels" if outcome.labels else ""
    say(f"learnt {outcome.train} examples{labels}" + (f" ({'; '.join(odd)})" if odd else ""))
    if outcome.before:
        say(f"before: validation {outcome.before.in_words()}")
    say(f"kept epoch {outcome.chosen} of {len(outcome.epochs)}: validation {outcome.validation.in_words()}")
    if outcome.test:
        alone = outcome.transformer_test_accuracy
        shown = "" if alone is None else f"; its transformer alone: accuracy {alone:.4f}"
        say(f"test {outcome.test.in_words()}{shown}")
    if outcome.positions:
        ended = ", ".join(f"{partition} at {offset}" for partition, offset in outcome.positions.items())
        say(f"learnt the topic up to: {ended}")
    say(f"{outcome.output} holds the model, after {outcome.seconds:.0f} s; README.md in it is its card")
