"""Two roads into a new domain: reading texts of it without labels first, or going on with the labelled stream alone.

    python -m benchmarks.adaptation --seeds 0 1 2
    python -m benchmarks.adaptation --seeds 0 --share 0.02 --texts 100     # a try, which nothing is kept of

The stream is that of newsgroups, or of ratings, with a share of each part's events. Before it begins, the encoder of
one of two learners is trained further to fill masked words (continued pre-training, task-adaptive: Gururangan et al.,
2020, https://aclanthology.org/2020.acl-main.740) in texts of the part behind the first switch that are not in the
stream. Then both learn the same stream, and what counts is how they do behind that switch. Everything is on one thread.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks import ours
from benchmarks.results import keep
from benchmarks.streams import CHARACTERS, NAMES, Stream, built_in
from streamlearn.local.data import minilm

LEARNERS = (ours.ALONE, "tuned")
MASKED = 0.15
BATCH = 16
RATE = 1e-4
TOKENS = 128


def unlabelled(name: str, seed: int, stream: Stream, count: int) -> list[str]:
    """Return up to `count` texts of the part behind the first switch that `stream`, a share of it, does not hold."""
    whole, held = built_in(name, seed), set(stream.texts)
    texts = [text for text in whole.texts[whole.begins[1] : whole.ends[1]] if text not in held]
    return texts[:count]


def continued(texts: Sequence[str], epochs: int, seed: int, directory: Path) -> dict[str, float]:
    """Train the encoder further on `texts`, save it in `directory`, and return what that took and came to."""
    torch.manual_seed(seed)
    begun = time.process_time()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())
    model = transformers.AutoModelForMaskedLM.from_pretrained(minilm()).train()
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED)
    encoded = [tokenizer(text[:CHARACTERS], truncation=True, max_length=TOKENS) for text in texts]
    steps = epochs * -(-len(encoded) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    order, losses = random.Random(seed), list[float]()
    for _ in range(epochs):
        shuffled = order.sample(encoded, len(encoded))
        for first in range(0, len(shuffled), BATCH):
            loss = model(**collate(shuffled[first : first + BATCH])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    model.base_model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    tenth = max(1, len(losses) // 10)
    return {
        "processor_seconds": round(time.process_time() - begun, 1),
        "masked_loss_first": round(float(np.mean(losses[:tenth])), 3),
        "masked_loss_last": round(float(np.mean(losses[-tenth:])), 3),
    }


def behind_the_switch(learner: str, stream: Stream, seed: int, overrides: Sequence[str]) -> dict[str, float]:
    """Return how often `learner` is right before the first switch of `stream`, and behind it."""
    begun = time.process_time()
    stepper = ours.Stepper(ours.configuration(learner, seed, overrides), stream)
    stepper.run(0, stream.ends[1])
    switch, right = stream.ends[0], stepper.correct
    return {
        "before": float(right[:switch].mean()),
        "first_300": float(right[switch : switch + 300].mean()),
        "new_domain": float(right[switch : stream.ends[1]].mean()),
        "processor_seconds": round(time.process_time() - begun, 1),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures by stream, learner and road, one for each seed."""
    found: dict[str, Any] = {}
    for name in options.streams:
        for seed in options.seeds:
            stream = built_in(name, seed, options.share)
            texts = unlabelled(name, seed, stream, options.texts)
            with tempfile.TemporaryDirectory() as directory:
                taken = continued(texts, options.epochs, seed, Path(directory))
                found.setdefault(name, {}).setdefault("pretraining", []).append({"texts": len(texts), **taken})
                for learner in LEARNERS:
                    for road, overrides in {"stream": (), "pretrained": (f"updater.model={directory}",)}.items():
                        row = behind_the_switch(learner, stream, seed, overrides)
                        found[name].setdefault(learner, {}).setdefault(road, []).append(row)
                        print(name, seed, learner, road, row, flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--streams", nargs="+", choices=NAMES, default=list(NAMES))
    arguments.add_argument("--share", type=float, default=0.25, help="of the events of each part")
    arguments.add_argument("--texts", type=int, default=2000, help="without labels, at most")
    arguments.add_argument("--epochs", type=int, default=3)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = measure(options)
    gains = {
        f"{name}_{learner}_{figure}_gain": float(
            np.mean([one[figure] for one in own[learner]["pretrained"]])
            - np.mean([one[figure] for one in own[learner]["stream"]])
        )
        for name, own in found.items()
        for learner in LEARNERS
        for figure in ("first_300", "new_domain")
    }
    result = gains | {"share": options.share, "seeds": options.seeds, "epochs": options.epochs, "streams": found}
    if len(options.seeds) > 1:
        keep("adaptation", result)
    else:
        print(gains)


if __name__ == "__main__":
    main()
