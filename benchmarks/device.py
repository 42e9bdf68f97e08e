"""What of a GPU's peak the steps of a language model reach in bfloat16, as a learner takes them.

    python -m benchmarks.device

The models have the shapes of SmolLM2-135M and of the first eight layers of SmolLM2-1.7B, and random weights, which cost
the same; all of them train. A token of a text costs six floating-point operations for each weight (Kaplan et al., 2020,
arXiv:2001.08361), attention not counted. The peak is the one that a product of two large matrices reaches on the same
device. Nothing in streamlearn depends on it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.language_runs import events
from benchmarks.results import keep
from streamlearn.config import load
from streamlearn.learner import Learner
from streamlearn.learner.direct import take_step
from streamlearn.local.smollm2 import smollm2

SHAPES: dict[str, dict[str, int]] = {
    "135M": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "1.7B, 8 layers": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 8,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
    },
}
SIZES = {"135M": (4, 32, 128), "1.7B, 8 layers": (4, 32)}  # texts a step
STEPS = 6
TOKENS = 512  # of a text
SIDE = 8192  # of the matrices
WORD = " the"  # a token


def matrix_peak() -> float:
    """Return the operations a second of a product of two bfloat16 matrices, the median of ten."""
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    found = []
    for _ in range(13):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        left @ right
        torch.cuda.synchronize()
        found.append(2 * SIDE**3 / (time.perf_counter() - begun))
    return statistics.median(found[3:])


def make_model(shape: str, directory: Path) -> None:
    """Save a model of that shape with random weights, and SmolLM2's tokenizer."""
    source = smollm2()
    config = transformers.AutoConfig.from_pretrained(source, **SHAPES[shape])
    config.head_dim = config.hidden_size // config.num_attention_heads
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(directory)


def measure(model: Path, texts: int, peak: float) -> dict[str, float]:
    """Return the rate of steps on so many texts."""
    config = load(
        overrides=[
            "updater.objective=language_model",
            f"updater.model={model}",
            "updater.trains=all",
            f"updater.micro_batch={texts}",
            f"updater.max_tokens={TOKENS}",
            "updater.replay_ratio=0",
            "events.holdout_ratio=0",
            "events.max_text_characters=1000000",
        ]
    )
    learner = Learner(config)
    count = sum(parameter.numel() for parameter in learner.updater.model.parameters())  # type: ignore[attr-defined]
    taken, tokens = [], 0
    for step in range(STEPS):
        fresh = events([WORD * (TOKENS - 8)] * texts, step * texts)
        torch.cuda.synchronize()
        begun = time.perf_counter()
        report = take_step(learner, fresh)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - begun)
        if report.result is None or report.result.texts is None:
            raise RuntimeError("no step was taken")
        tokens = int(report.result.texts.tokens.sum())
    rate = tokens / statistics.median(taken[2:])
    return {
        "texts_a_step": texts,
        "tokens_per_second": round(rate),
        "share_of_peak": round(6 * count * rate / peak, 4),
        "gibibytes": round(torch.cuda.max_memory_allocated() / 2**30, 2),
    }


def main() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    peak = matrix_peak()
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "matrix_teraflops": round(peak / 1e12, 1)}
    for shape, sizes in SIZES.items():
        with tempfile.TemporaryDirectory() as directory:
            make_model(shape, Path(directory))
            found[shape] = []
            for texts in sizes:
                torch.cuda.reset_peak_memory_stats()
                found[shape].append(measure(Path(directory), texts, peak))
                print(shape, found[shape][-1], flush=True)
    keep("device", found)


if __name__ == "__main__":
    main()
