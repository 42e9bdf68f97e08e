"""The card of a fine-tuned model: what it is, how right it is, what it was made of, and how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamlearn.commands.finetuning.outcome import Figures, Outcome
from streamlearn.config import Config
from streamlearn.events import Label
from streamlearn.terminal import escaped

SHOWN_LABELS = 50
TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-classification
tags: [streamlearn]
---

# A classifier of {labels} labels, fine-tuned from {model}

`streamlearn finetune` made it of {train} examples (data: {files}). Epoch {chosen} of {epochs} was kept, because its
loss on the validation was least. In each epoch the validation is predicted before anything follows it; no expert
learns it.

| | examples | accuracy | macro-F1 | log loss, nats | calibration error |
|---|---|---|---|---|---|
{table}
{alone}
Labels: {named}.

## How to use it

```python
import streamlearn

labels, probabilities = streamlearn.load("this-directory").predict(["a text"])
```

`streamlearn run --set updater.model=this-directory` goes on from it on a stream. `model.safetensors` is the transformer
alone: `from streamlearn import MeanPooledForSequenceClassification` lets `transformers` load it.

## How it was made

| setting | value |
|---|---|
{settings}

It took {seconds} seconds. Examples refused: {refused}; ids repeated: {duplicates}. `streamlearn.json` has the SHA-256
of each file, and the versions of what made them.
"""
SETTINGS = (
    "experts",
    "pooling",
    "trains",
    "max_tokens",
    "micro_batch",
    "replay_ratio",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "dropout",
    "seed",
)


def card(outcome: Outcome, config: Config, labels: Sequence[Label], files: Sequence[str]) -> str:
    """Return the card as Markdown, with the metadata at its head that Hugging Face's hub reads.

    It names files without where they lay, and holds no text of an example.
    """
    given = config.updater.model_dump(mode="json")
    model = Path(config.updater.model)
    beginning = _plain(model.name if model.is_dir() else config.updater.model)
    named = ", ".join(f"`{_plain(label)}`" for label in labels[:SHOWN_LABELS])
    more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
    table = [_row(f"validation, epoch {one.number}", one.validation) for one in outcome.epochs]
    if outcome.test:
        table.append(_row("test, which chose nothing", outcome.test))
    alone = outcome.transformer_test_accuracy
    return TEMPLATE.format(
        labels=len(labels),
        model=beginning,
        train=outcome.train,
        files=", ".join(map(_plain, files)),
        chosen=outcome.chosen,
        epochs=len(outcome.epochs),
        table="\n".join(table),
        alone="" if alone is None else f"\nThe transformer alone is right about {alone:.4f} of the test.\n",
        named=f"{named}{more}",
        settings="\n".join(f"| `updater.{name}` | {_plain(given[name])} |" for name in SETTINGS),
        seconds=f"{outcome.seconds:.0f}",
        refused=sum(outcome.refused.values()),
        duplicates=outcome.duplicates,
    )


def _row(name: str, figures: Figures) -> str:
    calibration = "-" if figures.calibration_error is None else f"{figures.calibration_error:.4f}"
    return (
        f"| {name} | {figures.events} | {figures.accuracy:.4f} | {figures.macro_f1:.4f} | {figures.log_loss:.4f} | "
        f"{calibration} |"
    )


def _plain(value: object) -> str:
    """Return `value` as it may stand in a cell of a table and between backticks."""
    return escaped(value).replace("|", "\\|").replace("`", "'")
