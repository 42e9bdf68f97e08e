"""Runs one learner over one stream in a process of its own, and keeps what came of it, so that nothing is run twice.

    python -m benchmarks.runs '{"learner": "river_softmax", "stream": "sentiment", "seed": 0}'

is what such a process executes. What is kept is named by the learner, its settings and the stream, but not by the
revision of the code: whoever has changed that runs it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.figures import Run
from benchmarks.streams import NAMES, Stream, built_in, from_file, micro_batches
from streamlearn.errors import ConfigurationError

KEPT = Path(__file__).parent / "kept"  # which git does not see
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
TIERS = ("tokens", "frozen", "tuned")
OURS = (*TIERS, "transformer")  # `benchmarks.ours` says what they are, but imports torch


def key(said: Any) -> str:
    """Return what tells a run of which so much is `said`, as plain values, from all others in the name of its file."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def kept(name: str, said: Any, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is kept of the run `name` of which so much is `said`; where that is nothing, run it first."""
    path = KEPT / f"{name}-{key(said)}.json"
    if not path.exists():
        found = run()
        KEPT.mkdir(exist_ok=True)
        path.write_text(json.dumps(found))
    whole: dict[str, Any] = json.loads(path.read_text())
    return whole


@dataclass(frozen=True)
class Task:
    """One learner on one stream.

    Attributes
    ----------
    learner
        A peer, a tier of streamlearn or its transformer alone.
    stream
        The name of a stream that is built in, or the path of a file.
    seed
        Orders a stream that is built in, and is that of streamlearn's random state.
    share
        Of the events of each part.
    overrides
        ``section.key=value`` of streamlearn's configuration.
    keep_experts
        Whether what each expert says of each event is kept too.

    """

    learner: str
    stream: str
    seed: int = 0
    share: float = 1.0
    overrides: tuple[str, ...] = ()
    keep_experts: bool = False

    def make_stream(self) -> Stream:
        """Return its stream."""
        if self.stream in NAMES:
            return built_in(self.stream, self.seed, self.share)
        return from_file(Path(self.stream), self.share)

    def settings(self) -> dict[str, Any]:
        """Return whatever its learner is set to, as plain values: of streamlearn, the defaults too."""
        if self.learner in OURS:
            from benchmarks import ours  # noqa: PLC0415 - it imports torch, which a peer's memory does not hold

            return ours.settings(ours.configuration(self.learner, self.seed, self.overrides))
        found: dict[str, Any] = peers.module(self.learner).SETTINGS
        return found

    def path(self, stream: Stream) -> Path:
        """Return the file in which its run is kept."""
        said = {"stream": stream.digest(), "settings": self.settings()}
        return KEPT / f"{self.learner}-{stream.name}-{self.seed}-{key(said)}.npz"

    def experts_path(self, stream: Stream) -> Path:
        """Return the file in which what its experts said is kept."""
        path = self.path(stream)
        return path.with_name(f"{path.stem}-experts.npz")

    def fetch(self, stream: Stream, *, again: bool = False, run: bool = True) -> Run | None:
        """Return what is kept of it; where that is nothing, or with `again`, run it first, or return None."""
        try:
            path = self.path(stream)
        except ConfigurationError:  # a peer that is not installed: nobody knows its settings
            if run:
                raise
            return None
        missing = not path.exists() or (self.keep_experts and not self.experts_path(stream).exists())
        if run and (again or missing):
            command = [sys.executable, "-m", "benchmarks.runs", json.dumps(asdict(self))]
            subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD})
        if not path.exists():
            return None
        with np.load(path) as kept:
            return Run(kept["correct"], kept["losses"], float(kept["seconds"]), float(kept["mebibytes"]))


def most_mebibytes() -> float:
    """Return the most memory that this process has taken, not counting the one that it was forked from."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def run_peer(stream: Stream, peer: peers.Peer, together: int) -> Run:
    """Let `peer` predict and then learn so many events at a time."""
    indices = {label: index for index, label in enumerate(stream.classes)}
    targets = [indices[label] for label in stream.labels]
    own, begun = list[Any](), time.process_time()
    for first, end in micro_batches(len(targets), together):
        own.append(peer.probabilities(stream.texts[first:end]))
        peer.learn(stream.texts[first:end], targets[first:end])
    seconds = time.process_time() - begun
    probabilities = np.concatenate(own)
    with np.errstate(divide="ignore"):
        losses = -np.log(probabilities[range(len(targets)), targets])
    return Run(probabilities.argmax(-1) == targets, losses, seconds, most_mebibytes())


def run_ours(stream: Stream, task: Task) -> Run:
    """Let streamlearn's learner of `task` do so."""
    from benchmarks import ours  # noqa: PLC0415 - a peer's memory does not hold torch

    stepper = ours.Stepper(ours.configuration(task.learner, task.seed, task.overrides), stream)
    with ours.noted() as notes:
        begun = time.process_time()
        stepper.run(0, len(stream.texts))
        seconds = time.process_time() - begun
    run = Run(stepper.correct, stepper.losses, seconds, most_mebibytes())
    if task.keep_experts:
        arrays: dict[str, Any] = notes.arrays(stepper.learner.updater.experts)
        np.savez_compressed(task.experts_path(stream), **arrays)
    return run


def main() -> None:
    said = json.loads(sys.argv[1])
    task = Task(**{**said, "overrides": tuple(said.get("overrides", ()))})
    stream = task.make_stream()
    KEPT.mkdir(exist_ok=True)
    if task.learner in OURS:
        run = run_ours(stream, task)
    else:
        together = peers.module(task.learner).SETTINGS["together"]
        run = run_peer(stream, peers.make(task.learner, stream.classes), together)
    np.savez(task.path(stream), correct=run.correct, losses=run.losses, seconds=run.seconds, mebibytes=run.mebibytes)


if __name__ == "__main__":
    main()
