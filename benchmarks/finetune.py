"""Fine-tuning on 20 Newsgroups' own split beside Hugging Face's Trainer, and what a stream gains by beginning with it.

    python -m benchmarks.finetune --directory D               # hours of one core, minutes of a GPU; D is gone on with
    python -m benchmarks.finetune --share 0.02 --epochs 2     # a try, which nothing is kept of
    python -m benchmarks.finetune --pasts                     # what a shorter past is worth: minutes of a core

Both learn the same texts of ``train``, of which the same tenth chooses the epoch, and both are asked about all of
``test``. Each example passes through the model with its gradient three times with streamlearn, whose first pass is two
of them because it replays as many examples as it meets, and four times with the Trainer. The Trainer trains the whole
model with a head of its own, as the textbook does it, at each of three rates, of which validation chooses one. Then a
learner that begins with the fine-tuned mixture, and one that begins with the model alone, predict and learn the first
300 texts of ``test`` as a stream. Each of the six runs in a process of its own, on one thread, and on a GPU where there
is one; what streamlearn and the Trainer take is measured side by side on the processor, with a twentieth of the split.
With ``--pasts`` such streams begin with what was made of a few of the texts, in three draws of these.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.ours import Stepper
from benchmarks.results import keep
from benchmarks.runs import ONE_THREAD, most_mebibytes
from benchmarks.streams import Stream
from streamlearn.commands.finetuning import finetune
from streamlearn.commands.finetuning.examples import Examples, read
from streamlearn.config import Config, load
from streamlearn.local.data import minilm, split

FIRST = 300
COSTED = 0.05  # of the split, for what both take
PASTS = (200, 1000)  # texts, some of which are held out
SEEDS = (0, 1, 2)
RATES = (5e-5, 1e-4, 2e-4)
PARTS = ("ours", *(f"trainer-{rate:g}" for rate in RATES), "warm", "cold")
TRAINER_BATCH = 8  # that of streamlearn's steps with their replayed examples


def write_split(directory: Path, share: float) -> None:
    """Write a `share` of both halves of the split as JSON lines, in an order drawn once."""
    for name in ("train", "test"):
        documents = list(split(name))
        random.Random(0).shuffle(documents)
        write(directory / f"{name}.jsonl", documents[: round(share * len(documents))])


def write(path: Path, documents: Sequence[tuple[str, str]]) -> None:
    path.write_text("".join(json.dumps({"text": text, "label": group}) + "\n" for group, text in documents))


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


def trainer(directory: Path, rate: float, options: argparse.Namespace) -> dict[str, Any]:
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
            output_dir=str(directory / f"trainer-{rate:g}"),
            per_device_train_batch_size=TRAINER_BATCH,
            num_train_epochs=options.epochs + 2,
            learning_rate=rate,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
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
    return {"validation_accuracy": own.state.best_metric, "test_accuracy": right / len(found.test), "rate": rate}


def begun(directory: Path, model: Path, name: str) -> dict[str, Any]:
    found = examples(directory).test[:FIRST]
    texts, labels = [event.text for event in found], [str(event.label) for event in found]
    stepper = Stepper(configuration(model, "events.holdout_ratio=0"), Stream(name, texts, labels, [name], [len(texts)]))
    stepper.run(0, len(texts))
    return {f"first_300_{name}": float(np.mean(stepper.correct))}


def run(part: str, directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what `part` came to, with the seconds that it took and the most memory of this process."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    used, passed = time.process_time(), time.perf_counter()
    if part == "ours":
        found = ours(directory, options)
    elif part.startswith("trainer-"):
        found = trainer(directory, float(part.removeprefix("trainer-")), options)
    else:
        found = begun(directory, directory / "model" if part == "warm" else minilm(), part)
    cost = {
        "seconds": round(time.perf_counter() - passed, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "mebibytes": round(most_mebibytes()),
        "device": "cpu",
    }
    if torch.cuda.is_available():
        taken = round(torch.cuda.max_memory_allocated() / 2**20)
        cost |= {"device": torch.cuda.get_device_name(), "device_mebibytes": taken}
    return found | {"cost": cost}


def run_all(directory: Path, parts: Sequence[str], options: argparse.Namespace, **variables: str) -> dict[str, Any]:
    """Return what each of `parts` came to, from `directory` where it has been run there already."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "train.jsonl").exists():
        write_split(directory, options.share)
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        kept = directory / f"{part}.json"
        if not kept.exists():
            command = [sys.executable, "-m", "benchmarks.finetune", f"--part={part}", f"--epochs={options.epochs}"]
            subprocess.run([*command, f"--directory={directory}"], check=True, env=os.environ | ONE_THREAD | variables)
        found[part] = json.loads(kept.read_text())
        print(part, found[part], file=sys.stderr, flush=True)
    return found


def told(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of all `parts`, those that are compared at the top."""
    tried = [parts[part] for part in PARTS if part.startswith("trainer-")]
    chosen = max(tried, key=lambda each: float(each["validation_accuracy"]))
    return {
        "test_accuracy": parts["ours"]["test_accuracy"],
        "trainer_test_accuracy": chosen["test_accuracy"],
        "trainer_rate": chosen["rate"],
        "first_300_warm": parts["warm"]["first_300_warm"],
        "first_300_cold": parts["cold"]["first_300_cold"],
        "parts": parts,
    }


def pasts(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return how often a stream's first texts are predicted rightly, by how many others were fine-tuned on before."""
    right: dict[str, list[float]] = {}
    for seed in SEEDS:
        draw = random.Random(seed)
        known, new = (draw.sample(list(split(name)), count) for name, count in (("train", max(PASTS)), ("test", FIRST)))
        for count in PASTS:
            own = directory / f"{count}-{seed}"
            own.mkdir(parents=True, exist_ok=True)
            write(own / "train.jsonl", known[:count])
            write(own / "test.jsonl", new)
            parts = ("ours", "warm", "cold") if count == min(PASTS) else ("ours", "warm")
            found = run_all(own, parts, options)
            right.setdefault(str(count), []).append(found["warm"]["first_300_warm"])
            if "cold" in found:
                right.setdefault("0", []).append(found["cold"]["first_300_cold"])
    return {
        "first_300": {count: round(float(np.mean(each)), 4) for count, each in right.items()},
        "first_300_deviation": {count: round(float(np.std(each, ddof=1)), 4) for count, each in right.items()},
        "seeds": SEEDS,
        "most_epochs": options.epochs,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--share", type=float, default=1.0, help="of each half of the split")
    arguments.add_argument("--epochs", type=int, default=2)
    arguments.add_argument("--pasts", action="store_true", help="what a shorter past is worth, and nothing else")
    arguments.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments.add_argument("--directory", type=Path, help="where it works, to be gone on with; else a temporary one")
    options = arguments.parse_args()
    if options.part:
        found = json.dumps(run(options.part, options.directory, options))
        (options.directory / f"{options.part}.json").write_text(found)
        return
    whole = options.share == 1.0
    with tempfile.TemporaryDirectory() as temporary:
        if options.pasts:
            keep("pasts", pasts(options.directory or Path(temporary), options))
            return
        found = run_all(options.directory or Path(temporary) / "split", PARTS, options)
        all_told = {"share": options.share, "most_epochs": options.epochs} | told(found)
        if whole:
            options.share = COSTED
            beside = run_all(Path(temporary) / "costed", PARTS[:2], options, CUDA_VISIBLE_DEVICES="")
            all_told["costs"] = {"share": COSTED, **{part: own["cost"] for part, own in beside.items()}}
    if whole:
        keep("finetune", all_told)
    else:
        print(json.dumps(all_told, indent=1))


if __name__ == "__main__":
    main()
