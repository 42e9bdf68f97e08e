"""How often the learner is right, event by event, on streams that switch: its experts beside learners of other kinds.

    python -m benchmarks.learning --seeds 0 1 2

Every learner predicts each text before it learns it, in the same order. Stream ``newsgroups`` is that of the demo,
longer: groups A, groups B under the same labels, and A again; stream ``sentiment`` is four rated corpora one after
the other. Texts are cut to 300 characters, and each stands in its stream once. What a learner is set to is the same
on both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from river import feature_extraction, naive_bayes

from benchmarks.results import keep
from streamlearn.config import Updater
from streamlearn.local.data import Part, minilm, newsgroups, sentiment
from streamlearn.updater.experts.least_squares import LeastSquares
from streamlearn.updater.experts.memory import LongMemory, RecentMemory
from streamlearn.updater.experts.naive_bayes import NaiveBayes
from streamlearn.updater.experts.softmax import AdaGradSoftmax
from streamlearn.updater.features import Encoded
from streamlearn.updater.lexical import Lexical
from streamlearn.updater.mixture import Mixture

CHARACTERS, TOKENS, TOGETHER = 300, 128, 4
FIRST, AFTER_SWITCH, SMOOTHED = 300, 500, 200  # events
WITHIN = 0.03  # of the accuracy before the switch, to have recovered from it
NEWSGROUPS, SENTIMENT = (4_000, 4_000, 2_000), 2_500
SPARE = 200  # texts of each part that may stand twice
TIER_1 = (NaiveBayes, AdaGradSoftmax, RecentMemory, LongMemory, LeastSquares)


@dataclass(frozen=True)
class Stream:
    """Texts with their labels, and where each part of them ends."""

    name: str
    texts: list[str]
    labels: list[str]
    ends: list[int]


@dataclass(frozen=True)
class Run:
    """Whether each event was predicted correctly, its loss where the learner has one, and events a second."""

    correct: NDArray[np.bool_]
    losses: NDArray[np.float64] | None
    events_per_second: float


def make_stream(name: str, parts: Sequence[Part], sizes: Sequence[int]) -> Stream:
    """Return the first `sizes` different texts of each of `parts`."""
    seen: set[str] = set()
    kept: list[list[tuple[str, str]]] = []
    for part, size in zip(parts, sizes, strict=True):
        different = {text[:CHARACTERS]: label for text, label in part.examples}
        kept.append([(text, label) for text, label in different.items() if text not in seen][:size])
        seen.update(text for text, _ in kept[-1])
    whole = [pair for examples in kept for pair in examples]
    texts, labels = [text for text, _ in whole], [label for _, label in whole]
    return Stream(name, texts, labels, list(accumulate(map(len, kept))))


def streams(seed: int) -> Iterator[Stream]:
    """Yield both streams, in the order of `seed`."""
    first, second, again = NEWSGROUPS
    enough = first + SPARE, second + SPARE // 2, again + SPARE // 2
    yield make_stream("newsgroups", newsgroups(enough, seed=seed), NEWSGROUPS)
    parts = sentiment(SENTIMENT + SPARE, seed=seed)
    yield make_stream("sentiment", parts, [SENTIMENT] * len(parts))


class Tier1:
    """The experts that need no forward pass, mixed."""

    def __init__(self) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm()))
        model = transformers.AutoModel.from_pretrained(str(minilm()))
        self.embeddings: torch.Tensor = model.get_input_embeddings().weight.detach()

    def run(self, stream: Stream) -> Run:
        """Return how they do, a few events at a time."""
        config = Updater()
        special = self.tokenizer.all_special_ids
        mixture = Mixture(
            [kind(config, []) for kind in TIER_1],
            lambda wanted: Lexical(wanted, special=special, embeddings=lambda: self.embeddings),
        )
        columns: dict[str, int] = {}
        correct, losses = list[bool](), list[float]()
        begun = time.perf_counter()
        for first in range(0, len(stream.texts), TOGETHER):
            texts, labels = stream.texts[first : first + TOGETHER], stream.labels[first : first + TOGETHER]
            tokens = self.tokenizer(texts, truncation=True, max_length=TOKENS)["input_ids"]
            known = len(columns)
            for label in labels:
                if label not in columns:
                    columns[label] = len(columns)
                    mixture.grow(label)
            targets = [columns[label] for label in labels]
            encoded = Encoded([np.asarray(ids, dtype=np.int32) for ids in tokens], mixture.reads)
            found: Any = mixture.gradients(encoded, targets)
            predicted = found.log_probabilities[:, : max(1, known)].argmax(-1).tolist()
            correct += [column == target < known for column, target in zip(predicted, targets, strict=True)]
            losses += found.losses.tolist()
            mixture.apply(found)
        seconds = time.perf_counter() - begun
        return Run(np.asarray(correct), np.asarray(losses), len(correct) / seconds)


def river_naive_bayes(stream: Stream) -> Run:
    """Return how river's TF-IDF and multinomial naive Bayes do."""
    model = feature_extraction.TFIDF() | naive_bayes.MultinomialNB(alpha=0.1)
    return one_by_one(stream, model.predict_one, model.learn_one)


def one_by_one(stream: Stream, predict: Callable[[str], Any], learn: Callable[[str, str], Any]) -> Run:
    correct, begun = list[bool](), time.perf_counter()
    for text, label in zip(stream.texts, stream.labels, strict=True):
        correct.append(predict(text) == label)
        learn(text, label)
    return Run(np.asarray(correct), None, len(correct) / (time.perf_counter() - begun))


def figures(stream: Stream, run: Run) -> dict[str, float]:
    """Return the accuracies that are looked at, by the names that they have in the results."""
    correct, (switch, back, *_) = run.correct, stream.ends
    found = {f"{stream.name}_overall": correct.mean(), f"{stream.name}_first_{FIRST}": correct[:FIRST].mean()}
    if stream.name == "newsgroups":
        smoothed = np.convolve(correct[switch:back], np.ones(SMOOTHED) / SMOOTHED, mode="valid")
        recovered = np.flatnonzero(smoothed >= correct[switch - AFTER_SWITCH : switch].mean() - WITHIN)
        found |= {
            f"newsgroups_first_{AFTER_SWITCH}": correct[switch : switch + AFTER_SWITCH].mean(),
            "newsgroups_return": correct[back : back + FIRST].mean(),
            "newsgroups_recovery_events": SMOOTHED + recovered[0] if len(recovered) else back - switch,
        }
    if run.losses is not None:
        found[f"{stream.name}_log_loss"] = run.losses.mean()
    return {name: round(float(value), 4) for name, value in found.items()} | {
        f"{stream.name}_events_per_second": round(run.events_per_second, 1)
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = arguments.parse_args()
    torch.set_num_threads(1)
    learners: dict[str, Callable[[Stream], Run]] = {
        "tier1": Tier1().run,
        "river_naive_bayes": river_naive_bayes,
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in learners}
    for seed in options.seeds:
        both = list(streams(seed))
        for name, learner in learners.items():
            found[name].append({k: v for stream in both for k, v in figures(stream, learner(stream)).items()})
            print(seed, name, found[name][-1])
    means = {
        name: {figure: round(fmean(run[figure] for run in runs), 4) for figure in runs[0]}
        for name, runs in found.items()
    }
    peers = [means[name] for name in learners if not name.startswith("tier")]
    best = {f"best_peer_{figure}": max(peer[figure] for peer in peers) for figure in peers[0]}
    tiers = {f"tier1_{figure}": value for figure, value in means["tier1"].items()}
    keep("learning", {**tiers, **best, "learners": means, "seeds": options.seeds})


if __name__ == "__main__":
    main()
