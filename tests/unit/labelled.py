"""Labelled examples of which most words tell the label, and the learner that tests fine-tune with them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamlearn.config import Config, load
from streamlearn.local.tiny import WORDS

Example = dict[str, Any]


def examples(count: int, *, seed: int = 0) -> list[Example]:
    """Return examples of three labels, of which most words tell the label."""
    draw = random.Random(seed)

    def text(label: int) -> str:
        own = [WORDS[3 * draw.randrange(len(WORDS) // 3) + label] for _ in range(3)]
        return " ".join([*own, draw.choice(WORDS), draw.choice(WORDS)])

    return [{"text": text(number % 3), "label": f"label-{number % 3}"} for number in range(count)]


def write(path: Path, rows: Sequence[Example]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tuned(model: Path | str, *overrides: str) -> Config:
    """Return the configuration of a few experts of each kind."""
    chosen = "updater.experts=[transformer, averaged, naive_bayes, long_memory, frozen_least_squares]"
    rates = "updater.learning_rate=1e-3", "updater.dropout=0.1"
    return load(overrides=[f"updater.model={model}", chosen, *rates, *overrides])
