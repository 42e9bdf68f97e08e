"""Two roads into a new domain: reading texts of it without labels first, or going on with the labelled stream alone.

    python -m benchmarks.adaptation
    python -m benchmarks.adaptation --seeds 0     # a part of it, which is kept for the whole

The streams are those of newsgroups and of ratings, with a share of each part's events. Before one begins, the encoder
of one of two learners, each with all experts, is trained further to fill masked words (continued pre-training,
task-adaptive: Gururangan et al., 2020, https://aclanthology.org/2020.acl-main.740) in texts of the part behind the
first switch that are not in the stream. Then both learn the same stream, and what counts is how they do behind that
switch. Everything is on one thread.
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
from benchmarks.runs import kept
from benchmarks.streams import CHARACTERS, NAMES, Stream, built_in
from streamlearn.local.data import minilm

LEARNER = "tuned"
MASKED = 0.15
BATCH = 16
RATE = 1e-4
TOKENS = 128
SHARE = 0.1  # of the events of each part
TEXTS = 1000  # without labels, at most
EPOCHS = 3
SEEDS = (0, 1, 2)
STREAMS = NAMES


def unlabelled(name: str, seed: int, stream: Stream) -> list[str]:
    """Return up to :data:`TEXTS` texts of the part behind the first switch that are not in `stream`."""
    whole, held = built_in(name, seed), set(stream.texts)
    texts = [text for text in whole.texts[whole.begins[1] : whole.ends[1]] if text not in held]
    return texts[:TEXTS]


def continued(texts: Sequence[str], seed: int, directory: Path) -> dict[str, float]:
    """Train the encoder further on `texts`, save it in `directory`, and return what that took and came to."""
    torch.manual_seed(seed)
    begun = time.process_time()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())
    model = transformers.AutoModelForMaskedLM.from_pretrained(minilm()).train()
    collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED)
    encoded = [tokenizer(text[:CHARACTERS], truncation=True, max_length=TOKENS) for text in texts]
    steps = EPOCHS * -(-len(encoded) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    order, losses = random.Random(seed), list[float]()
    for _ in range(EPOCHS):
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


def behind_the_switch(stream: Stream, seed: int, overrides: Sequence[str]) -> dict[str, float]:
    """Return how often the learner is right before the first switch of `stream`, and behind it."""
    begun = time.process_time()
    stepper = ours.Stepper(ours.configuration(LEARNER, seed, overrides), stream)
    stepper.run(0, stream.ends[1])
    switch, end = stream.ends[:2]
    before, behind = stepper.correct[:switch], stepper.correct[switch:end]
    return {
        "before": float(before.mean()),
        "first_300": float(behind[:300].mean()),
        "new_domain": float(behind.mean()),
        "processor_seconds": round(time.process_time() - begun, 1),
    }


def measure(name: str, seed: int) -> dict[str, Any]:
    """Return the figures of one order of the stream `name`, by learner and road, from what is kept where that is."""
    stream = built_in(name, seed, SHARE)
    texts = unlabelled(name, seed, stream)
    learners = {LEARNER: ours.settings(ours.configuration(LEARNER, seed))}
    said = [stream.digest(), texts, learners, MASKED, BATCH, RATE, TOKENS, EPOCHS]
    return kept(f"adaptation-{name}-{seed}", said, lambda: both_roads(stream, texts, seed))


def both_roads(stream: Stream, texts: Sequence[str], seed: int) -> dict[str, Any]:
    """Take the road of the stream alone, and the one that begins with `texts`."""
    with tempfile.TemporaryDirectory() as directory:
        pretraining = {"texts": len(texts), **continued(texts, seed, Path(directory))}
        roads = {
            road: behind_the_switch(stream, seed, overrides)
            for road, overrides in {"stream": (), "pretrained": (f"updater.model={directory}",)}.items()
        }
    return {"pretraining": pretraining, LEARNER: roads}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments.add_argument("--streams", nargs="+", choices=NAMES, default=STREAMS)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = {name: [measure(name, seed) for seed in options.seeds] for name in options.streams}
    if (*options.seeds, *options.streams) != (*SEEDS, *STREAMS):
        return
    gains: dict[str, list[float]] = {}
    for name, runs in found.items():
        for figure in ("first_300", "new_domain"):
            gains[f"{name}_{LEARNER}_{figure}_gain"] = [
                run[LEARNER]["pretrained"][figure] - run[LEARNER]["stream"][figure] for run in runs
            ]
    told = {gain: round(float(np.mean(values)), 4) for gain, values in gains.items()}
    told |= {f"{gain}_deviation": round(float(np.std(values, ddof=1)), 4) for gain, values in gains.items()}
    keep("adaptation", told | {"share": SHARE, "seeds": options.seeds, "epochs": EPOCHS, "streams": found})


if __name__ == "__main__":
    main()
