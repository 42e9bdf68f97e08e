"""streamlearn itself over a stream: the learner that production runs, its micro-batches filled from the stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.streams import Stream
from streamlearn.config import Config, load
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.learner.direct import NOWHERE, take_step
from streamlearn.local.data import minilm
from streamlearn.updater.pool import Pool

TIERS = ("tokens", "frozen", "tuned")
ALONE = "transformer"  # the transformer without the others, which is what the mixture's cost is compared with
NAMES = (*TIERS, ALONE)


def configuration(name: str, seed: int, overrides: Sequence[str] = ()) -> Config:
    """Return the default configuration with the experts `name`, but for what a comparison must fix.

    No event is held out, as no peer holds any out, and `seed` is the random state's.
    """
    experts = "[transformer]" if name == ALONE else name
    fixed = [
        f"updater.model={json.dumps(str(minilm()))}",
        f"updater.experts={experts}",
        f"updater.seed={seed}",
        "events.holdout_ratio=0",
        "events.max_text_characters=100000000",
    ]
    return load(overrides=[*fixed, *overrides])


def settings(config: Config) -> dict[str, Any]:
    """Return what of `config` decides θ, as plain values, without the path of the model, which is the machine's.

    Annealing decides what is published, and nothing of θ.
    """
    decisive = config.decisive()
    for name in ("model", "annealing_steps"):
        decisive["updater"].pop(name)
    return decisive


class Stepper:
    """A learner, and the micro-batches that it is fed with from `stream`.

    Attributes
    ----------
    correct, losses
        How the events so far were predicted, before they were learnt; refused ones are wrong, at a loss of inf.

    """

    def __init__(self, config: Config, stream: Stream) -> None:
        self.learner = Learner(config)
        self.correct = np.zeros(len(stream.texts), dtype=np.bool_)
        self.losses = np.full(len(stream.texts), np.inf)
        self._stream = stream
        self._size = config.updater.micro_batch

    def run(self, first: int, end: int) -> None:
        """Learn the events from `first` to below `end`, in as many steps as they fill."""
        texts, labels = self._stream.texts[first:end], self._stream.labels[first:end]
        pairs = enumerate(zip(texts, labels, strict=True), first)
        events = [Event(text, label, "", 0.0, *NOWHERE, n, None, identified=False) for n, (text, label) in pairs]
        for begin in range(0, len(events), self._size):
            report = take_step(self.learner, events[begin : begin + self._size])
            if report.result:
                offsets = [event.offset for event in report.learnt]
                self.correct[offsets], self.losses[offsets] = report.result.correct, report.result.losses


class Notes:
    """What each expert said of each event, and how many events went together, to mix subsets of them afterwards."""

    def __init__(self) -> None:
        self.each: list[NDArray[np.float32]] = []
        self.targets: list[list[int]] = []

    def arrays(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return ``log_probabilities`` of shape (experts, events, labels), NaN where a label was not known yet.

        ``targets`` is of shape (events,); ``sizes`` (events) and ``labels`` (known to the experts) of shape (steps,).
        """
        labels = max(each.shape[-1] for each in self.each)
        wide = [np.pad(e, ((0, 0), (0, 0), (0, labels - e.shape[-1])), constant_values=np.nan) for e in self.each]
        return {
            "names": np.asarray(names),
            "log_probabilities": np.concatenate(wide, 1),
            "targets": np.concatenate([np.asarray(own, dtype=np.int32) for own in self.targets]),
            "sizes": np.asarray([len(own) for own in self.targets]),
            "labels": np.asarray([each.shape[-1] for each in self.each]),
        }


@contextmanager
def noted() -> Iterator[Notes]:
    """Note what every pool is given to learn from while the context lasts."""
    notes, learn = Notes(), Pool.learn

    def note(pool: Pool, each: Sequence[torch.Tensor], targets: Sequence[int], *more: Any, **named: Any) -> Any:
        notes.each.append(torch.stack([one.float() for one in each]).numpy())
        notes.targets.append([int(target) for target in targets])
        return learn(pool, each, targets, *more, **named)

    with patch.object(Pool, "learn", note):
        yield notes
