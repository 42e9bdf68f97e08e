"""Whether a language model that is published should be annealed: a copy of it, with a rate that falls to nothing.

    python -m benchmarks.annealing            # three seeds; a quarter of an hour of two idle cores

Behind the first two parts of the stream of `benchmarks/language.py` the learner goes on with its constant rate, and
these are measured on texts of the first newsgroups, which are never learnt, and on the next texts of the stream, in
bits per byte: the weights as they are, their exponential mean over the last steps, and copies that take some steps
more, on texts drawn from the replay buffer, while the rate falls linearly to nothing; beside them copies that take the
same steps at the constant rate, since more steps alone are worth something.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.language_runs import LanguageTask, events, known
from benchmarks.ours import settings
from benchmarks.results import keep
from benchmarks.runs import kept
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.learner.direct import take_step
from streamlearn.updater.language.updater import LanguageUpdater

DECAYS = (0.9, 0.95)  # of the mean of the weights, each step
ANNEALED = (10, 30)  # further steps
NEXT = 64  # texts of the stream
Weights = dict[str, Tensor]


class Annealed:
    """The weights of `updater` in other ways than as they are."""

    def __init__(self, updater: LanguageUpdater) -> None:
        self._updater = updater
        self._means = {decay: self.weights() for decay in DECAYS}

    def weights(self) -> Weights:
        """Return a copy of the weights that train."""
        return {n: p.detach().clone() for n, p in self._updater.model.named_parameters() if p.requires_grad}

    def follow(self) -> None:
        """Let the means take in the weights as they are."""
        for decay, means in self._means.items():
            for name, parameter in self._updater.model.named_parameters():
                if name in means:
                    means[name].lerp_(parameter.detach(), 1 - decay)

    def ways(self, buffer: Sequence[Event], seed: int) -> Iterator[tuple[str, Weights]]:
        """Yield each way and its weights; the model is as it was after each."""
        yield "as they are", self.weights()
        for decay, means in self._means.items():
            yield f"mean {decay}", means
        for steps in ANNEALED:
            yield f"{steps} steps, falling", self._cooled(buffer, steps, random.Random(seed), falling=True)
            yield f"{steps} steps, constant", self._cooled(buffer, steps, random.Random(seed), falling=False)

    def _cooled(self, buffer: Sequence[Event], steps: int, draws: random.Random, *, falling: bool) -> Weights:
        updater, before = self._updater, self._updater.state()
        optimizer = updater.descent.optimizer
        begun = optimizer.factor
        for step in range(steps):
            optimizer.fixed = begun * (1 - step / steps if falling else 1.0)
            updater.step(draws.sample(list(buffer), updater.config.micro_batch))
        cooled = self.weights()
        updater.go_back(before)
        return cooled

    def put(self, weights: Weights) -> None:
        """Set the weights that train to `weights`."""
        with torch.no_grad():
            for name, parameter in self._updater.model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])

    @contextmanager
    def being(self, weights: Weights) -> Iterator[None]:
        """Let the model have `weights` for the while."""
        before = self.weights()
        self.put(weights)
        yield
        self.put(before)


def run(task: LanguageTask) -> dict[str, Any]:
    """Return the bits per byte of each way behind each part, of the reference and of the next texts of the stream."""
    config, (parts, reference) = task.configuration(), task.stream()
    learner, number, size = Learner(config), 0, config.updater.micro_batch
    updater = learner.updater
    if not isinstance(updater, LanguageUpdater):
        raise TypeError("the configuration is not that of a language model")
    annealed, held = Annealed(updater), updater.encode(events(reference, 0))
    found: dict[str, Any] = {}
    for name, texts in parts[:2]:
        learnt, coming = texts[:-NEXT], updater.encode(events(texts[-NEXT:], 0))
        for begin in range(0, len(learnt), size):
            take_step(learner, events(learnt[begin : begin + size], number))
            number += size
            annealed.follow()
        found[name] = {}
        for way, weights in annealed.ways(learner.buffer.last(len(learnt)), task.seed):
            with annealed.being(weights):
                costs = {"reference": known(updater, held), "next": known(updater, coming)}
            print(task.seed, name, way, costs, flush=True)
            found[name][way] = costs
    return found


def fetch(task: LanguageTask) -> dict[str, Any]:
    """Return what is kept of `task`; where that is nothing, run it first."""
    ways = [*DECAYS, *ANNEALED, NEXT]
    said = {"texts": task.stream(), "settings": settings(task.configuration()), "ways": ways}
    found: dict[str, Any] = kept(f"annealing-{task.seed}", said, lambda: run(task))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--events", type=int, default=240, help="of each part")
    arguments = parser.parse_args()
    runs = [fetch(LanguageTask("cut", seed, events=arguments.events)) for seed in arguments.seeds]
    means = {
        part: {
            way: {of: round(statistics.fmean(one[part][way][of] for one in runs), 4) for of in figures}
            for way, figures in ways.items()
        }
        for part, ways in runs[0].items()
    }
    keep("annealing", {"events": arguments.events, "seeds": arguments.seeds, "means": means, "runs": runs})


if __name__ == "__main__":
    main()
