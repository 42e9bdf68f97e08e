"""Fine-tuning on 20 Newsgroups' own split beside Hugging Face's Trainer, and what a stream gains by beginning with it.

    python -m benchmarks.finetune
    python -m benchmarks.finetune --share 0.02 --epochs 2     # a try, which nothing is kept of

Both learn the same texts of ``train``, of which the same tenth chooses the epoch, and both are asked about all of
``test``. The budget is the same number of passes of an example through the model with its gradient: streamlearn's
first pass is two of them, because it replays as many examples as it meets. The Trainer trains the whole model with a
head of its own, as the textbook does it; its rate was not tuned. Then a learner that begins with the fine-tuned
mixture, and one that begins with the model alone, predict and learn the first 300 texts of ``test`` as a stream. Each
of the four runs in a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.ours import Stepper
from benchmarks.results import keep
from benchmarks.streams import Stream
from streamlearn.commands.finetuning import finetune
from streamlearn.commands.finetuning.examples import Examples, read
from streamlearn.config import Config, load
from streamlearn.local.data import minilm, split

FIRST = 300
PARTS = ("ours", "trainer", "warm", "cold")
TRAINER_BATCH = 8  # that of streamlearn's steps with their replayed examples


def write_split(directory: Path, share: float) -> None:
    """Write a `share` of both halves of the split as JSON lines, in an order drawn once."""
    for name in ("train", "test"):
        documents = list(split(name))
        random.Random(0).shuffle(documents)
        rows = [{"text": text, "label": group} for group, text in documents[: round(share * len(documents))]]
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def configuration(model: Path, *overrides: str) -> Config:
    fixed = "events.max_text_characters=100000000", "updater.threads=1"
    return load(overrides=[f"updater.model={json.dumps(str(model))}", *fixed, *overrides])


def examples(directory: Path) -> Examples:
    return read(configuration(minilm()), directory / "train.jsonl", None, directory / "test.jsonl")


def ours(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    found = finetune(
        configuration(minilm()),
        directory / "train.jsonl",
        output=directory / "model",
        test=directory / "test.jsonl",
        epochs=options.epochs,
        patience=options.epochs,
    )
    return {
        "test_accuracy": found.test.accuracy if found.test else None,
        "test_log_loss": found.test.log_loss if found.test else None,
        "transformer_test_accuracy": found.transformer_test_accuracy,
        "validation_accuracy": found.validation.accuracy,
        "chosen_epoch": found.chosen,
        "epochs": [asdict(epoch) for epoch in found.epochs],
    }


def accuracy(outcome: transformers.EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((outcome.predictions.argmax(-1) == outcome.label_ids).mean())}


def trainer(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    found = examples(directory)
    labels = sorted({str(event.label) for event in found.train})
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=len(labels))

    def encoded(events: list[Any]) -> list[dict[str, Any]]:
        known = [event for event in events if str(event.label) in labels]
        ids = tokenizer([event.text for event in known], truncation=True, max_length=128)["input_ids"]
        return [{"input_ids": i, "labels": labels.index(str(e.label))} for i, e in zip(ids, known, strict=True)]

    test = encoded(found.test)
    own = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(directory / "trainer"),
            per_device_train_batch_size=TRAINER_BATCH,
            num_train_epochs=options.epochs + 1,  # the first pass of the others is two
            learning_rate=options.trainer_rate,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=encoded(found.train),
        eval_dataset=encoded(found.validation),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
    )
    own.train()
    right = own.predict(test).metrics["test_accuracy"] * len(test)
    return {"trainer_test_accuracy": right / len(found.test), "trainer_rate": options.trainer_rate}


def begun(directory: Path, model: Path, name: str) -> dict[str, Any]:
    found = examples(directory).test[:FIRST]
    texts, labels = [event.text for event in found], [str(event.label) for event in found]
    stepper = Stepper(configuration(model, "events.holdout_ratio=0"), Stream(name, texts, labels, [name], [len(texts)]))
    stepper.run(0, len(texts))
    return {f"first_300_{name}": float(np.mean(stepper.correct))}


def run(part: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what `part` came to, with the processor's seconds and the most memory of this process."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    before = time.process_time()
    if part == "ours":
        found = ours(directory, options)
    elif part == "trainer":
        found = trainer(directory, options)
    else:
        found = begun(directory, directory / "model" if part == "warm" else minilm(), part)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found | {f"{part}_processor_seconds": time.process_time() - before, f"{part}_mebibytes": round(used)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--share", type=float, default=1.0, help="of each half of the split")
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--trainer-rate", type=float, default=1e-4)
    arguments.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments.add_argument("--directory", type=Path, help="where it works, to be gone on with; else a temporary one")
    options = arguments.parse_args()
    if options.part:
        print(json.dumps(run(options.part, options.directory, options)))
        return
    found: dict[str, Any] = {"share": options.share, "most_epochs": options.epochs}
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        write_split(directory, options.share)
        given = [f"--epochs={options.epochs}", f"--trainer-rate={options.trainer_rate}", f"--directory={directory}"]
        for part in PARTS:
            command = [sys.executable, "-m", "benchmarks.finetune", f"--part={part}", *given]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
            found |= json.loads(done.stdout.splitlines()[-1])
            print(part, done.stdout.splitlines()[-1], file=sys.stderr, flush=True)
    if options.share == 1.0:
        keep("finetune", found)
    else:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
