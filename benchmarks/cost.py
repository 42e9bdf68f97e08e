"""What the other experts cost beside the transformer, and what keeping its lower layers' activations gains.

    python -m benchmarks.cost

Learners that differ in that alone learn the same stream in turn, a hundred events each a round, in one process and on
one thread; a figure is the median over rounds of the ratio of their times within one round. Without the activations
that are kept, a replayed text goes through all layers once more; what it learns is the same to the bit. What each
expert takes of a step is measured within one run: to predict, to find its gradient and to learn, without the features
that it shares with others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks import ours
from benchmarks.results import median
from benchmarks.runs import KEPT
from benchmarks.streams import Stream, built_in
from streamlearn.config import Config
from streamlearn.updater.extraction import FeatureExtractor

EACH, WARM_UP = 100, 1  # events of a round; rounds that do not count
LITTLE = 4 * 2**20  # bytes: what the frozen layers make of the texts of one micro-batch
MIXTURE, ALONE, NOTHING_KEPT = "tuned", ours.ALONE, "tuned_nothing_kept"
PATH = KEPT / "cost.json"


def in_turn(stream: Stream, configs: Mapping[str, Config], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each learner took for each round, but for the first."""
    steppers = {name: ours.Stepper(config, stream) for name, config in configs.items()}
    if NOTHING_KEPT in steppers:
        keep_little(steppers[NOTHING_KEPT])
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    for number in range(rounds + WARM_UP):
        for name, stepper in steppers.items():
            begun = time.perf_counter()
            stepper.run(number * EACH, (number + 1) * EACH)
            if number >= WARM_UP:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def keep_little(stepper: ours.Stepper) -> None:
    """Have `stepper` keep activations for as long as a step takes, and none for replay."""
    frozen = stepper.learner.updater.backbone.frozen
    keep_within = frozen.keep_within
    frozen.keep_within = lambda most: keep_within(min(most, LITTLE))  # type: ignore[method-assign]


def measure(rounds: int, path: Path = PATH) -> None:
    """Write the ratios into `path`."""
    torch.set_num_threads(1)
    tiers = {name: ours.configuration(name, seed=0) for name in (*ours.TIERS, ours.ALONE)}
    stream = built_in("newsgroups", 0)
    seconds = in_turn(stream, {**tiers, NOTHING_KEPT: tiers[MIXTURE]}, rounds)
    found = {
        "cost_over_transformer": ratio(seconds[MIXTURE], seconds[ALONE]),
        "activation_cache_gain": ratio(seconds[NOTHING_KEPT], seconds[MIXTURE]),
        "milliseconds_by_expert": by_expert(stream, EACH * rounds),
        "milliseconds_per_event": {name: median([1e3 * s / EACH for s in own]) for name, own in seconds.items()},
        "rounds": rounds,
        "events_per_round": EACH,
    }
    KEPT.mkdir(exist_ok=True)
    path.write_text(json.dumps(found))
    print(found)


def by_expert(stream: Stream, events: int) -> dict[str, float]:
    """Return the milliseconds of processor time an event that each expert takes, and that their features take."""
    stepper = ours.Stepper(ours.configuration(MIXTURE, seed=0), stream)
    mixture, spent = stepper.learner.updater.mixture, defaultdict[str, float](float)

    def timed(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def call_it(*values: Any, **named: Any) -> Any:
            begun = time.process_time()
            try:
                return call(*values, **named)
            finally:
                spent[what] += time.process_time() - begun

        return call_it

    watched = [(expert.name, expert, ("gradients", "apply")) for expert in mixture.experts]
    with ExitStack() as stack:
        for name, whose, methods in [*watched, ("features", FeatureExtractor, ("add", "take_in"))]:
            for method in methods:
                stack.enter_context(patch.object(whose, method, timed(name, getattr(whose, method))))
        stepper.run(0, events)
    return {name: float(f"{1e3 * seconds / events:.3g}") for name, seconds in spent.items()}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios within a round."""
    return median([above / below for above, below in zip(numerators, denominators, strict=True)])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=15)
    measure(arguments.parse_args().rounds)


if __name__ == "__main__":
    main()
