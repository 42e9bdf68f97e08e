"""A language model on texts without labels whose topics change and come back: what it learns, and what it forgets.

    python -m benchmarks.language                                     # three seeds; half an hour of an idle core each
    python -m benchmarks.language --events 40 --seeds 0 --try         # a try, which nothing is kept of

The stream is that of ``make demo-lm``: newsgroups, then others, then the first again, each text cut, and the same
model. Bits per byte are prequential, over the first and the last fifth of each part. What is forgotten is looked for on
64 other texts of the first newsgroups, which are never learnt: what a byte of them costs at the end of each part.
Forgetting is how much more that is after the return, or after the second part, than at the end of the first.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from importlib.resources import as_file, files
from typing import Any

import torch

from benchmarks.results import DIRECTORY, keep
from streamlearn.config import Config, load
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.learner.direct import NOWHERE, take_step
from streamlearn.learner.evaluation.bits import Bits
from streamlearn.local.data import newsgroups
from streamlearn.local.demo_lm import CHARACTERS
from streamlearn.local.smollm2 import LAYERS, smollm2

REPLAY = {"with_replay": 0.05, "with_much_replay": 0.5, "without_replay": 0.0}
REFERENCE = 64  # texts
FIFTH = 5


def configuration(seed: int, replay_ratio: float) -> Config:
    """Return the configuration of the demo but for what is tried."""
    fixed = [f"updater.model={smollm2()}", f"updater.seed={seed}", f"updater.replay_ratio={replay_ratio}"]
    with as_file(files("streamlearn.local") / "demo_lm.yaml") as path:
        return load(path, overrides=[*fixed, "events.holdout_ratio=0"])


def run(config: Config, parts: Sequence[tuple[str, list[str]]], reference: Sequence[str]) -> dict[str, Any]:
    """Return what the texts of each part cost before they were learnt, and what the reference costs behind each."""
    learner, number = Learner(config), 0
    found: dict[str, dict[str, float]] = {"start": {}, "end": {}, "over": {}, "reference": {}}
    held = learner.updater.encode(events(reference, 0))
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
        start, end = bits_per_byte(costs[:fifth]), bits_per_byte(costs[-fifth:])
        found["start"][name], found["end"][name], found["over"][name] = start, end, end / start
        figure = Bits.of(learner.updater.measure(held)).figure  # type: ignore[attr-defined]
        found["reference"][name] = math.nan if figure is None else figure
        print(name, {what: round(values[name], 4) for what, values in found.items()}, flush=True)
    return found


def events(texts: Sequence[str], first: int) -> list[Event]:
    return [Event(text, "", "", 0.0, *NOWHERE, first + n, None, identified=False) for n, text in enumerate(texts)]


def bits_per_byte(costs: Sequence[tuple[float, int]]) -> float:
    return math.fsum(nats for nats, _ in costs) / math.log(2) / sum(size for _, size in costs)


def stream(events_a_part: int, seed: int) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Return the parts of the stream, and the reference."""
    sizes = (events_a_part, events_a_part, events_a_part + REFERENCE)
    parts = [(part.name, [text[:CHARACTERS] for text, _ in part.examples]) for part in newsgroups(sizes, seed=seed)]
    (again, texts) = parts.pop()
    return [*parts, (again, texts[:events_a_part])], texts[events_a_part:]


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the means over the seeds, those that the issue names at the top."""
    names = list(runs["with_replay"][0]["over"])
    first, second, again = names
    told: dict[str, Any] = {
        "bits_per_byte_end_over_start": {
            name: round(statistics.fmean(one["over"][name] for one in runs["with_replay"]), 4) for name in names
        }
    }
    for replay, each in runs.items():
        for when, part in (("", again), ("_after_the_switch", second)):
            lost = [one["reference"][part] - one["reference"][first] for one in each]
            told[f"forgetting_{replay}{when}"] = round(statistics.fmean(lost), 4)
            told[f"forgetting_{replay}{when}_by_seed"] = [round(value, 4) for value in lost]
    return told


def table(told: dict[str, Any]) -> str:
    lines = [
        "| replayed for each fresh text | bits per byte more after the second part | after the return |",
        "|---|---|---|",
    ]
    for name, ratio in REPLAY.items():
        after, again = told[f"forgetting_{name}_after_the_switch"], told[f"forgetting_{name}"]
        lines.append(f"| {ratio:g} | {after:+.4f} | {again:+.4f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400, help="of each part")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--try", dest="tried", action="store_true", help="keep nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in REPLAY}
    for seed in given.seeds:
        parts, reference = stream(given.events, seed)
        for name, ratio in REPLAY.items():
            print(f"seed {seed}, {name}", flush=True)
            runs[name].append(run(configuration(seed, ratio), parts, reference))
    told = summary(runs)
    print(table(told))
    if not given.tried:
        keep("language", told | {"events": given.events, "seeds": given.seeds, "layers": LAYERS, "runs": runs})
        (DIRECTORY / "language.md").write_text(table(told))


if __name__ == "__main__":
    main()
