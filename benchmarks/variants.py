"""What trains, and what λR is, tried on three streams: how well it learns, and what it costs.

    python -m benchmarks.variants adapters
    python -m benchmarks.variants regularizers

The streams of labels are learnt by the transformer alone, so that nothing hides what is tried; what is tried with
replay is learnt by all experts, too (``mixture``). The language stream is learnt by the whole of SmolLM2-135M-Instruct,
which has no biases, and whose head is its table of embeddings. All else is as by default, and a tenth of the labelled
events is learnt. Each run is kept, over three seeds, and may have been made on another machine than the one that the
result names. What variants cost is measured on that one, over some events, in a process each, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import ours
from benchmarks.figures import figures, means
from benchmarks.language_runs import LanguageTask, events, forgotten
from benchmarks.results import keep
from benchmarks.runs import ONE_THREAD, Task, most_mebibytes
from benchmarks.streams import NAMES, built_in
from streamlearn.learner import Learner
from streamlearn.learner.direct import take_step
from streamlearn.storage.states import write_state

Variants = Mapping[str, tuple[str, ...]]

SHARE = 0.1  # of the events of each labelled part
SEEDS = (0, 1, 2)
ADAPTERS: Variants = {
    trains: (f"updater.trains={trains}",) for trains in ("last-3", "last-1", "all", "lora", "bias", "head")
}
NO_REPLAY = "updater.replay_ratio=0"
STRENGTHS = {"l2": 1e-3, "l2_sp": 1e-2, "ewc": 1.0, "lwf": 1.0}  # the defaults
OTHER_STRENGTHS = {"l2": 1e-4, "l2_sp": 1e-1, "ewc": 1e2, "lwf": 0.3}


def regularized(strengths: Mapping[str, float]) -> Variants:
    """Return a variant without replay for each regularizer at its strength."""
    return {
        f"{name} {strength:g}, no replay": (
            f"updater.regularizer={name}",
            f"updater.regularization={strength!r}",
            NO_REPLAY,
        )
        for name, strength in strengths.items()
    }


UNHELD: Variants = {"none, no replay": (NO_REPLAY,), **regularized(STRENGTHS)}
REGULARIZERS: Variants = {
    "none, replay": (),
    "der 0.1, replay": ("updater.regularizer=der", "updater.regularization=0.1"),  # which is about what is replayed
    **UNHELD,
}
MIXTURE: Variants = {said: given for said, given in REGULARIZERS.items() if NO_REPLAY not in given}
LANGUAGE_ADAPTERS: Variants = {said: given for said, given in ADAPTERS.items() if said not in ("bias", "head")}
LANGUAGE_REGULARIZERS: Variants = {  # of what trains in the last layers, where there is something to forget
    said: ("updater.trains=last-3", *given)
    for said, given in {"none, replay": (), **UNHELD, **regularized(OTHER_STRENGTHS)}.items()
}
MIXED = "tuned"  # the tier with all experts
LANGUAGE = "language"
LOOKED_AT = ("overall", "first_300", "first_500", "return", "log_loss")
WARM = 8  # events, behind which a step takes what it always takes
EVENTS = 400  # with labels, whose cost is measured
STEPS = 8  # of a language model, whose cost is measured
TEXTS = 4  # a step


def cost(learner: Learner, events: int, seconds: float) -> dict[str, float]:
    """Return what learning so many events in so many seconds of a processor came to, and how large a checkpoint is."""
    with tempfile.TemporaryDirectory() as directory:
        write_state(Path(directory), learner.state())
        size = sum(file.stat().st_size for file in Path(directory).iterdir())
    return {
        "events_per_second": round(events / seconds, 2),
        "mebibytes": round(most_mebibytes()),
        "checkpoint_mebibytes": round(size / 2**20, 2),
    }


def labelled_cost(overrides: tuple[str, ...]) -> dict[str, float]:
    """Return what the transformer alone costs over the first events of a labelled stream."""
    stepper = ours.Stepper(ours.configuration(ours.ALONE, 0, overrides), built_in(NAMES[0], 0, SHARE))
    stepper.run(0, WARM)
    begun = time.process_time()
    stepper.run(WARM, EVENTS)
    return cost(stepper.learner, EVENTS - WARM, time.process_time() - begun)


def language_cost(overrides: tuple[str, ...]) -> dict[str, float]:
    """Return what some steps of the whole language model cost."""
    task = LanguageTask("whole", 0, overrides)
    learner = Learner(task.configuration())
    ((_, texts), *_), _ = task.stream()
    begun = 0.0
    for step in range(STEPS + 1):
        take_step(learner, events(texts[step * TEXTS : (step + 1) * TEXTS], step * TEXTS))
        begun = begun or time.process_time()  # behind the first step, which is slower
    return cost(learner, STEPS * TEXTS, time.process_time() - begun)


COSTS: dict[str, Callable[[tuple[str, ...]], dict[str, float]]] = {"labelled": labelled_cost, LANGUAGE: language_cost}


def cost_alone(what: str, overrides: tuple[str, ...]) -> dict[str, float]:
    """Return what one of :data:`COSTS` finds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.variants", "cost", what, *overrides]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def language_row(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the means over `runs`, one for each seed, in bits per byte."""
    found: dict[str, list[float]] = {"overall": [], "forgotten_after_the_switch": [], "forgotten_after_the_return": []}
    for run in runs:
        found["overall"].append(statistics.fmean(run["whole"].values()))
        switched, returned = forgotten(run)
        found["forgotten_after_the_switch"].append(switched)
        found["forgotten_after_the_return"].append(returned)
    row = {name: round(statistics.fmean(values), 4) for name, values in found.items()}
    return row | {"overall_deviation": round(statistics.stdev(found["overall"]), 4)}


def measure(variants: Variants, language: Variants) -> dict[str, Any]:
    """Return what comes of `variants` on each labelled stream and of `language` on the other, means over the seeds."""
    found: dict[str, Any] = labelled(ours.ALONE, variants) | {LANGUAGE: {}}
    for said, overrides in language.items():
        found[LANGUAGE][said] = language_row([LanguageTask("whole", seed, overrides).fetch() for seed in SEEDS])
        print(LANGUAGE, said, found[LANGUAGE][said], flush=True)
    return found


def labelled(learner: str, variants: Variants) -> dict[str, Any]:
    """Return what comes of `variants` of `learner` on each labelled stream, means over the seeds."""
    found: dict[str, Any] = {name: {} for name in NAMES}
    for name in NAMES:
        streams = {seed: built_in(name, seed, SHARE) for seed in SEEDS}
        for said, overrides in variants.items():
            rows = []
            for seed, stream in streams.items():
                run = Task(learner, name, seed, SHARE, overrides).fetch(stream)
                if run is not None:
                    rows.append({f: value for f, value in figures(stream, run).items() if f in LOOKED_AT})
            overall = [row["overall"] for row in rows]
            found[name][said] = means(rows) | {
                "overall_deviation": round(statistics.stdev(overall), 4),
                "overall_by_seed": [round(value, 4) for value in overall],
            }
            print(learner, name, said, found[name][said], flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("what", choices=("adapters", "regularizers", "cost"))
    arguments.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.what == "cost":
        torch.set_num_threads(1)
        what, *overrides = options.more
        print(json.dumps(COSTS[what](tuple(overrides))))
    elif options.what == "adapters":
        found = measure(ADAPTERS, LANGUAGE_ADAPTERS)
        costs = {
            what: {said: cost_alone(what, overrides) for said, overrides in variants.items()}
            for what, variants in (("labelled", ADAPTERS), (LANGUAGE, LANGUAGE_ADAPTERS))
        }
        keep("adapters", {"share": SHARE, "seeds": SEEDS, "streams": found, "costs": costs})
    else:
        found = measure(REGULARIZERS, LANGUAGE_REGULARIZERS)
        mixture = labelled(MIXED, MIXTURE)
        keep("regularizers", {"share": SHARE, "seeds": SEEDS, "streams": found, "mixture": mixture})


if __name__ == "__main__":
    main()
