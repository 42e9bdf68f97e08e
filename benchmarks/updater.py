"""Examples a second of the transformer alone inside the running pipeline, beside three loops on the same texts.

What the other experts cost beside it is measured by ``benchmarks/learning.py``.

(a) the loop of a tutorial: a batch of one, all parameters, AdamW as it comes, padding by the tokenizer's call;
(b) Hugging Face's Trainer at the same micro-batch;
(c) a bare PyTorch loop over the very tensors that the updater saw: the limit.

It also notes what share of the pipeline's time recording the steps in the journal takes.
Each round runs all four one after the other; the result is the median over rounds of each round's ratios.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: N812 - its name in the field
import transformers
from torch import Tensor

from benchmarks.results import keep, median
from streamlearn.checkpointing.journal import Journal
from streamlearn.config import Config, load
from streamlearn.consumer.client import create_topic
from streamlearn.decisions import Decision
from streamlearn.local.broker import Broker, start_broker
from streamlearn.local.data import minilm, newsgroups
from streamlearn.local.feed import Feed, send
from streamlearn.pipeline import Pipeline
from streamlearn.reports import StepReport
from streamlearn.updater.experts.transformer.batches import Part
from streamlearn.updater.experts.transformer.expert import TransformerExpert
from streamlearn.updater.experts.transformer.forward import Forward, Tokens
from streamlearn.updater.features import Encoded

WARM_UP = 3  # steps that are not measured
LABELS = ["comp", "rec", "sci", "talk"]
TUTORIAL_EXAMPLES = 60
COMPARED = (  # what the loops beside it are made like, whatever the defaults and the demo's settings are
    "updater.experts=[transformer]",
    "updater.pooling=native",
    "updater.trains=all",
    "updater.embeddings=frozen",
    "updater.model_overrides={num_hidden_layers: 3}",
    "updater.max_tokens=64",
    "updater.micro_batch=16",
    "updater.replay_ratio=1",
    "publisher.checkpoints.every_steps=40",
    "publisher.snapshots.every_steps=80",
)


@dataclass
class Seen:
    """What the updater saw: the parts and targets of each step, and the texts in their order."""

    parts: list[list[Part]] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    journal_seconds: float = 0.0
    records: int = 0

    def examples_per_second(self) -> float:
        """Return the rate of the pipeline from the warm-up to the last full step; the rest waits for more events."""
        sizes = [len(targets) for targets in self.targets]
        last = max(step for step, size in enumerate(sizes) if size == max(sizes))
        return sum(sizes[WARM_UP : last + 1]) / (self.ended[last] - self.ended[WARM_UP - 1])


def configuration(broker: Broker, directory: Path, topic: str) -> Config:
    """Return the configuration of what is compared, the rest of it as in the demo."""
    overrides = [
        *COMPARED,
        f"kafka.bootstrap_servers={broker.bootstrap_servers}",
        f"kafka.topic={topic}",
        f"kafka.group={topic}",
        f"updater.model={minilm()}",
        f"events.labels=[{', '.join(LABELS)}]",
        f"publisher.directory={directory / topic}",
    ]
    with as_file(files("streamlearn.local") / "demo.yaml") as path:
        return load(path, overrides=overrides)


def run_pipeline(config: Config, feed: Feed) -> Seen:
    """Learn `feed` from a broker, and note what the updater sees."""
    seen = Seen()
    parts_of, gradients, append = Forward.parts, TransformerExpert.gradients, Journal.append

    def note_parts(forward: Forward, tokens: Tokens, *, apart: bool = False) -> list[Part]:
        seen.parts.append(parts_of(forward, tokens, apart=apart))
        return seen.parts[-1]

    def note_targets(
        expert: TransformerExpert, encoded: Encoded, targets: Sequence[int], *weights: object, **how: object
    ) -> object:
        seen.targets.append(torch.tensor(targets))
        with patch.object(Forward, "parts", note_parts):
            return gradients(expert, encoded, targets, *weights, **how)  # type: ignore[arg-type]

    def note_journal(journal: Journal, decision: Decision) -> None:
        started = time.perf_counter()
        append(journal, decision)
        seen.journal_seconds += time.perf_counter() - started

    def note_end(report: StepReport) -> None:
        if report.result:
            seen.ended.append(time.perf_counter())
        seen.records += report.outcomes.total()
        if seen.records == len(feed.records):
            pipeline.stop()

    pipeline = Pipeline(config, on_step=note_end)
    create_topic(config.kafka, config.kafka.topic)
    send(config.kafka, feed)
    with patch.object(TransformerExpert, "gradients", note_targets), patch.object(Journal, "append", note_journal):
        pipeline.run()
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.updater.model)
    for parts, targets in zip(seen.parts, seen.targets, strict=True):
        texts = [""] * len(targets)
        for part in parts:
            for row, ids in zip(part.rows, part.input_ids, strict=True):
                texts[row] = tokenizer.decode(ids, skip_special_tokens=True)
        seen.texts.append(texts)
    return seen


def make_model(config: Config, *, frozen_embeddings: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        config.updater.model, num_labels=len(LABELS), **config.updater.model_overrides
    )
    model.get_input_embeddings().requires_grad_(not frozen_embeddings)
    return model


def bare_loop(config: Config, seen: Seen) -> float:
    """(c) Return examples a second of forward, backward, clipping and step over the recorded tensors."""
    model = make_model(config, frozen_embeddings=True).eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.updater.learning_rate, fused=True)
    examples, started = 0, time.perf_counter()
    for step, (parts, targets) in enumerate(zip(seen.parts, seen.targets, strict=True)):
        if step == WARM_UP:
            examples, started = 0, time.perf_counter()
        for part in parts:
            logits = model(input_ids=part.input_ids, attention_mask=part.attention_mask).logits
            (F.cross_entropy(logits, targets[part.rows], reduction="sum") / len(targets)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.updater.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        examples += len(targets)
    return examples / (time.perf_counter() - started)


def tutorial_loop(config: Config, seen: Seen) -> float:
    """(a) Return examples a second of one text at a time, padded by the tokenizer to the longest allowed."""
    model = make_model(config, frozen_embeddings=False).train()
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.updater.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.updater.learning_rate)
    examples = [
        (text, int(target))
        for texts, targets in zip(seen.texts, seen.targets, strict=True)
        for text, target in zip(texts, targets, strict=True)
    ]
    started = time.perf_counter()
    for place, (text, target) in enumerate(examples[: TUTORIAL_EXAMPLES + WARM_UP]):
        if place == WARM_UP:
            started = time.perf_counter()
        inputs = tokenizer(
            text, padding="max_length", truncation=True, max_length=config.updater.max_tokens, return_tensors="pt"
        )
        model(**inputs, labels=torch.tensor([target])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return TUTORIAL_EXAMPLES / (time.perf_counter() - started)


class _Clock(transformers.TrainerCallback):
    """Notes when the warm-up and the training end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: object, **__: object) -> None:
        self.times.append(time.perf_counter())


def trainer(config: Config, seen: Seen) -> float:
    """(b) Return examples a second of Trainer over the same texts in the same micro-batches."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.updater.model)
    size = max(map(len, seen.targets))
    texts = [text for step in seen.texts for text in step]
    encoded = tokenizer(texts, truncation=True, max_length=config.updater.max_tokens)
    labels = [int(target) for targets in seen.targets for target in targets]
    data = [{"input_ids": ids, "labels": label} for ids, label in zip(encoded["input_ids"], labels, strict=True)]
    clock = _Clock()
    with tempfile.TemporaryDirectory() as directory:
        transformers.Trainer(
            model=make_model(config, frozen_embeddings=True),
            args=transformers.TrainingArguments(
                output_dir=directory,
                per_device_train_batch_size=size,
                num_train_epochs=1,
                learning_rate=config.updater.learning_rate,
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=data,
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
            callbacks=[clock],
        ).train()
    return size * (len(clock.times) - WARM_UP - 1) / (clock.times[-2] - clock.times[WARM_UP - 1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--events", type=int, default=560)
    options = arguments.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    (part, *_) = newsgroups((options.events, 0, 0))
    feed = Feed(records=[json.dumps({"text": text, "label": label}).encode() for text, label in part.examples])
    rounds: list[dict[str, float]] = []
    journal: list[float] = []
    with start_broker() as broker, tempfile.TemporaryDirectory() as directory:
        for number in range(options.rounds):
            config = configuration(broker, Path(directory), f"benchmark-{number}")
            seen = run_pipeline(config, feed)
            rounds.append(
                {
                    "pipeline": seen.examples_per_second(),
                    "bare_loop": bare_loop(config, seen),
                    "trainer": trainer(config, seen),
                    "tutorial_loop": tutorial_loop(config, seen),
                }
            )
            journal.append(seen.journal_seconds / (seen.ended[-1] - seen.ended[0]))
            print({name: round(value, 1) for name, value in rounds[-1].items()})
    result: dict[str, object] = {
        f"ratio_to_{peer}": median([r["pipeline"] / r[peer] for r in rounds])
        for peer in ("bare_loop", "tutorial_loop", "trainer")
    }
    keep(
        "updater",
        result
        | {
            "examples_per_second": {name: median([r[name] for r in rounds]) for name in rounds[0]},
            "journal_share_of_the_time": median(journal),
            "rounds": len(rounds),
            "model": "MiniLM, 3 layers; token embeddings frozen, but for the tutorial loop, which trains all",
            "micro_batch": f"{config.updater.micro_batch} fresh + as many replayed",
            "max_tokens": config.updater.max_tokens,
            "broker": broker.name,
        },
    )


if __name__ == "__main__":
    main()
