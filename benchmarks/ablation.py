"""What each expert and each default of the transformer gives.

An expert's share is found without learning anything again: what each expert said of each event has been kept
(``--keep-experts``), experts do not know of one another, and so the pool alone runs again over some of them. A default
is tried with another value in its place, over a share of the streams.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.figures import Run, figures
from benchmarks.streams import Stream
from streamlearn.updater import pool

DEFAULTS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "pooling: native": ("updater.pooling=native",),
    "trains: all": ("updater.trains=all",),
    "trains: last-2": ("updater.trains=last-2",),
    "trains: head": ("updater.trains=head",),
    "micro_batch: 2": ("updater.micro_batch=2",),
    "micro_batch: 8": ("updater.micro_batch=8",),
    "micro_batch: 16": ("updater.micro_batch=16",),
    "replay_ratio: 0": ("updater.replay_ratio=0",),
    "replay_ratio: 2": ("updater.replay_ratio=2",),
    "learning_rate: half": ("updater.learning_rate=5e-5",),
    "learning_rate: double": ("updater.learning_rate=2e-4",),
    "head_learning_rate: that of the rest": ("updater.head_learning_rate=1e-4",),
}
"""What is put in the place of a default of streamlearn's transformer, by what it is called in the table."""


BEYOND = {
    "tokens": ("frozen_", "middle_", "transformer", "averaged"),
    "frozen": ("transformer", "averaged"),
}
"""How the names of the experts begin that a tier goes without."""


class Kept:
    """What each expert said of each event of one run; `path` is a file that :mod:`benchmarks.runs` has kept."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.names: list[str] = arrays["names"].tolist()
            self._said: NDArray[np.float32] = arrays["log_probabilities"]
            self._targets: NDArray[np.int64] = arrays["targets"]
            self._ends: list[int] = np.cumsum(arrays["sizes"]).tolist()
            self._labels: list[int] = arrays["labels"].tolist()

    def mixed(self, names: Iterable[str]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return whether the pool of the experts `names` alone is right, and its losses, each of shape (events,)."""
        rows = [self.names.index(name) for name in names]
        mixed, correct = pool.Pool(len(rows)), np.zeros(len(self._targets), dtype=np.bool_)
        losses = np.zeros(len(self._targets))
        first = known = 0
        for end, labels in zip(self._ends, self._labels, strict=True):
            each = [torch.from_numpy(self._said[row, first:end, :labels]) for row in rows]
            targets = self._targets[first:end]
            log_probabilities = mixed.predict(each)
            predicted = log_probabilities[:, : max(1, known)].argmax(-1).numpy()
            correct[first:end] = (predicted == targets) & (targets < known)
            losses[first:end] = -log_probabilities.numpy()[range(end - first), targets]
            mixed.learn(each, targets.tolist())
            first, known = end, labels
        return correct, losses


def of_tier(tier: str, names: Sequence[str]) -> list[str]:
    """Return those of `names`, of all experts, that are in a `tier`."""
    return [name for name in names if not name.startswith(BEYOND.get(tier, ()))]


def mix_again(path: Path, experts: Path, tier: str) -> None:
    """Put into the run of a `tier` that is kept in `path` what the pool of now makes of what its `experts` said."""
    kept = Kept(experts)
    correct, losses = kept.mixed(of_tier(tier, kept.names))
    with np.load(path) as run:
        np.savez(path, **{**run, "correct": correct, "losses": losses})


def kept_over_subsets(path: Path, stream: Stream) -> dict[str, dict[str, float]]:
    """Return :func:`over_subsets` of the experts in `path`, once found for as long as the pool is what it was."""
    beside, revision = path.with_suffix(".json"), hashlib.sha256(inspect.getsource(pool).encode()).hexdigest()
    had = json.loads(beside.read_text()) if beside.exists() else {}
    if had.get("pool") != revision or beside.stat().st_mtime < path.stat().st_mtime:
        had = {"pool": revision, "found": over_subsets(Kept(path), stream)}
        beside.write_text(json.dumps(had))
    found: dict[str, dict[str, float]] = had["found"]
    return found


def over_subsets(kept: Kept, stream: Stream) -> dict[str, dict[str, float]]:
    """Return the accuracy of all experts, of those of each tier, without each one, and of each one alone."""
    all_of_them = kept.names
    subsets: dict[str, Sequence[str]] = {"all": all_of_them}
    subsets |= {f"tier {tier} alone": of_tier(tier, all_of_them) for tier in BEYOND}
    subsets |= {f"without {name}": [other for other in all_of_them if other != name] for name in all_of_them}
    subsets |= {f"{name} alone": [name] for name in all_of_them}
    return {said: _looked_at(stream, kept.mixed(names)[0]) for said, names in subsets.items() if names}


def _looked_at(stream: Stream, correct: NDArray[np.bool_]) -> dict[str, float]:
    found = figures(stream, Run(correct, np.zeros(len(correct)), 1.0, 0.0))
    return {name: found[name] for name in ("overall", "first_300", "first_500", "return") if name in found}
