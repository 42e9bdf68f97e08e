"""The model card of a snapshot: what it is, how accurate it is, where it comes from and how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamlearn.state import Export
from streamlearn.terminal import escaped

CARD = "README.md"
SHOWN_LABELS = 50
TEMPLATE = """\
---
library_name: transformers
pipeline_tag: {task}
tags: [streamlearn]
---

# Version {version} of a {what}

`streamlearn` learnt it from a stream that it goes on with: {trained} events in {step} steps, beginning with `{model}`.
It was published on {published} (UTC). `streamlearn.json` has its place in the stream, its settings, the versions of
what made it, and the SHA-256 of each file.

| figure | value |
|---|---|
{figures}

Prequential figures are over the newest events, each predicted before it was learnt. Those of the hold-out are over
events that are never trained on: the validation decides what is published, the test decides nothing.
{labels}
## How to use it

```python
{usage}
```
"""
MIXTURE = """\
import streamlearn

labels, probabilities = streamlearn.load("this-directory").predict(["a text"])"""
TRANSFORMER = """\
from streamlearn import MeanPooledForSequenceClassification  # makes the head over the mean known to transformers
from transformers import pipeline

classify = pipeline("text-classification", "this-directory")"""
LANGUAGE_MODEL = """\
from transformers import pipeline

go_on = pipeline("text-generation", "this-directory")"""


def card(manifest: Mapping[str, Any], export: Export) -> str:
    """Return the model card of `export`, described by `manifest`, as Markdown.

    It starts with the metadata that Hugging Face's hub reads. It names a model's directory by its last component, and
    contains nothing from events but the labels.
    """
    labels = [] if export.language_model else [str(label) for label in export.mixture.get("labels", [])]
    labels = labels or [name for _, name in sorted(export.config.id2label.items())][: export.columns]
    model = Path(str(manifest.get("model", "")))
    created = datetime.fromtimestamp(manifest.get("created", 0.0), tz=UTC)
    return TEMPLATE.format(
        task="text-generation" if export.language_model else "text-classification",
        version=manifest["version"],
        what="language model" if export.language_model else f"classifier of {len(labels)} labels",
        trained=manifest.get("events", {}).get("trained", 0),
        step=manifest["step"],
        model=_plain(model.name if model.is_dir() else model),
        published=created.isoformat(sep=" ", timespec="minutes")[:16],
        figures="\n".join(_figures(manifest.get("metrics", {}))),
        labels="" if export.language_model else f"\nLabels: {_named(labels)}.\n",
        usage=LANGUAGE_MODEL if export.language_model else MIXTURE if export.mixture else TRANSFORMER,
    )


def _figures(metrics: Mapping[str, Any]) -> Iterator[str]:
    for name, value in metrics.items():
        for split, figure in value.items() if isinstance(value, Mapping) else [("", value)]:
            shown = "not measured" if figure is None else f"{figure:.4f}"
            yield f"| {' '.join([name.replace('_', ' '), split]).strip()} | {shown} |"


def _named(labels: list[str]) -> str:
    more = len(labels) - SHOWN_LABELS
    return ", ".join(f"`{_plain(label)}`" for label in labels[:SHOWN_LABELS]) + (
        f" and {more} more" if more > 0 else ""
    )


def _plain(value: object) -> str:
    """Return `value` in one line, safe between backticks."""
    return escaped(value).replace("`", "'")
