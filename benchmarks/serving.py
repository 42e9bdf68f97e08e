"""How soon one text is labelled by what was published, and how many a second, beside the transformer alone.

    python -m benchmarks.serving
    python -m benchmarks.serving --events 400 --texts 128 --rounds 1

A learner of each tier learns the beginning of the stream, is published, and is loaded by ``streamlearn.load``. The
transformer of the last one is loaded once more by plain transformers, which tokenises, pads and runs whole batches.
Each round goes through all of them one after the other, over the same texts. None has met them before, in earlier
rounds neither: what the frozen layers made of a text is kept. Latencies are over the texts of all rounds, one text a
call; rates are the median over rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import streamlearn
from benchmarks.ours import TIERS, Stepper, configuration
from benchmarks.results import keep, median
from benchmarks.streams import Stream, built_in
from streamlearn.capture import capture_snapshot
from streamlearn.publisher.snapshots import SnapshotStore

PLAIN = "transformers"
BATCHES = (1, 8, 32, 128)
MEBI = 2**20

Label = Callable[[Sequence[str]], Any]


def publish(tier: str, stream: Stream, events: int, directory: Path) -> Path:
    """Return the snapshot of a learner of `tier` that has learnt the first `events` of `stream`."""
    config = configuration(tier, 0)
    stepper = Stepper(config, stream)
    stepper.run(0, events)
    candidate = capture_snapshot(stepper.learner, config, version=1)
    if candidate.export is None:
        raise RuntimeError(f"the tier '{tier}' has nothing to publish")
    return SnapshotStore(directory / tier).write(1, candidate.step, candidate.export, candidate.provenance)


def plain(path: Path, max_tokens: int) -> Label:
    """Return what labels texts with the transformer in `path` and nothing of ours but the class of its head."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    names = model.config.id2label

    def label(texts: Sequence[str]) -> list[str]:
        encoded = tokenizer(list(texts), truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
        with torch.inference_mode():
            return [names[column] for column in model(**encoded).logits.softmax(-1).argmax(-1).tolist()]

    return label


def seconds(label: Label, texts: Sequence[str], batch: int) -> list[float]:
    """Return the seconds that each call took over all of `texts`, so many at once; what does not fill one is left."""
    taken = []
    for start in range(0, len(texts) - batch + 1, batch):
        began = time.perf_counter()
        label(texts[start : start + batch])
        taken.append(time.perf_counter() - began)
    return taken


def measure(labels: dict[str, Label], texts: Sequence[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Return the latencies and rates of each of `labels` over `texts`, each time with another number before them."""
    taken = {name: {batch: list[list[float]]() for batch in BATCHES} for name in labels}
    for label in labels.values():
        seconds(label, texts[: max(BATCHES)], max(BATCHES))  # whoever is first would load libraries for the others
    for number in range(rounds):
        for batch in BATCHES:
            new = [f"{number} {batch} {text}" for text in texts]
            for name, label in labels.items():
                taken[name][batch].append(seconds(label, new, batch))
    return {name: figures(own) for name, own in taken.items()}


def figures(taken: dict[int, list[list[float]]]) -> dict[str, Any]:
    """Return the latency of one text in milliseconds and the texts a second by batch, of the seconds of each call."""
    alone = 1e3 * np.concatenate(taken[1])
    rates = {batch: [batch * len(calls) / sum(calls) for calls in rounds] for batch, rounds in taken.items()}
    return {
        "p50_ms": float(f"{np.percentile(alone, 50):.4g}"),
        "p99_ms": float(f"{np.percentile(alone, 99):.4g}"),
        "texts_per_second": {str(batch): median(own) for batch, own in rates.items()},
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--events", type=int, default=2_000, help="that each learner has learnt")
    arguments.add_argument("--texts", type=int, default=256, help="that are labelled in each round")
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    if options.texts < max(BATCHES):
        arguments.error(f"--texts is {options.texts}, and the largest batch takes {max(BATCHES)}")
    stream = built_in("newsgroups", 0)
    texts = stream.texts[options.events : options.events + options.texts]
    labels: dict[str, Label] = {}
    loading: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for tier in TIERS:
            path = publish(tier, stream, options.events, Path(directory))
            began = time.perf_counter()
            labels[tier] = streamlearn.load(path).predict
            size = sum(file.stat().st_size for file in path.iterdir()) / MEBI
            loading[tier] = {"load_seconds": median([time.perf_counter() - began]), "mebibytes": median([size])}
        labels[PLAIN] = plain(path, configuration(TIERS[-1], 0).updater.max_tokens)
        found = measure(labels, texts, options.rounds)
    result = {name: {**own, **loading.get(name, {})} for name, own in found.items()}
    keep("serving", {**result, "events": options.events, "texts": options.texts, "rounds": options.rounds})


if __name__ == "__main__":
    main()
