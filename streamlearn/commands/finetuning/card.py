"""The model card of a fine-tuned model: what it is, how accurate it is, what it was made from, and how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamlearn.commands.finetuning.figures import Figures
from streamlearn.commands.finetuning.outcome import Outcome
from streamlearn.config import Config
from streamlearn.events import Label
from streamlearn.terminal import escaped

SHOWN_LABELS = 50
TEMPLATE = """\
---
library_name: transformers
pipeline_tag: {task}
tags: [streamlearn]
---

# A {what}, fine-tuned from {model}

`streamlearn finetune` made it of {train} examples (data: {files}). Epoch {chosen} of {epochs} was kept, because
{reason}. {judging}

{table}
{about}
## How to use it

{use}

## How it was made

| setting | value |
|---|---|
{settings}

It took {seconds} seconds. Examples refused: {refused}; ids repeated: {duplicates}. `streamlearn.json` has the SHA-256
of each file, and the versions of what made them.
"""


@dataclass(frozen=True)
class Wording:
    """The parts of a card that depend on the objective.

    Attributes
    ----------
    task
        The task's name on Hugging Face's hub.
    what
        What the model is, without an article.
    reason, judging
        Why an epoch is chosen, and how the validation data are used.
    about
        Further notes on the figures and the model; empty, or whole lines after an empty one.
    use
        How to use it.
    settings
        The settings of ``updater`` worth showing.

    """

    task: str
    what: str
    reason: str
    judging: str
    about: str
    use: str
    settings: Sequence[str]


def card(outcome: Outcome, config: Config, wording: Wording, files: Sequence[str]) -> str:
    """Return the card as Markdown, starting with the metadata that Hugging Face's hub reads.

    It names files without their directories, and contains no text of an example.
    """
    given = config.updater.model_dump(mode="json")
    model = Path(config.updater.model)
    rows = [_row("validation, before", outcome.before)] if outcome.before else []
    rows += [_row(f"validation, epoch {one.number}", one.validation) for one in outcome.epochs]
    if outcome.test:
        rows.append(_row("test, which chose nothing", outcome.test))
    columns = outcome.validation.columns
    return TEMPLATE.format(
        task=wording.task,
        what=wording.what,
        model=_plain(model.name if model.is_dir() else config.updater.model),
        train=outcome.train,
        files=", ".join(map(_plain, files)),
        chosen=outcome.chosen,
        epochs=len(outcome.epochs),
        reason=wording.reason,
        judging=wording.judging,
        table="\n".join([f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", *rows]),
        about=wording.about,
        use=wording.use,
        settings="\n".join(
            f"| `updater.{name}` | {'its default' if given[name] is None else _plain(given[name])} |"
            for name in wording.settings
            if name != "regularization" or given["regularizer"] != "none"
        ),
        seconds=f"{outcome.seconds:.0f}",
        refused=sum(outcome.refused.values()),
        duplicates=outcome.duplicates,
    )


def named(labels: Sequence[Label]) -> str:
    """Return the first of `labels`, safe for Markdown, and how many more there are."""
    shown = ", ".join(f"`{_plain(label)}`" for label in labels[:SHOWN_LABELS])
    return shown + (f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else "")


def _row(name: str, figures: Figures) -> str:
    return f"| {name} | {' | '.join(figures.cells())} |"


def _plain(value: object) -> str:
    """Return `value`, safe for a table cell and between backticks."""
    return escaped(value).replace("|", "\\|").replace("`", "'")
