"""A fine-tuning that is killed, as a process, and given again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.learner import wait_until
from tests.unit.labelled import examples, write

STEPS = 60  # of the first pass, in micro-batches of four


@pytest.mark.parametrize(
    ("model", "more"),
    [("tiny_model", []), ("tiny_language_model", ["updater.objective=language_model", "updater.max_tokens=32"])],
    ids=["classification", "language_model"],
)
def test_killed_twice_and_given_again_a_fine_tuning_comes_to_the_same_bits(
    request: pytest.FixtureRequest, tmp_path: Path, model: str, more: list[str]
) -> None:
    directory: Path = request.getfixturevalue(model)
    data = write(tmp_path / "train.jsonl", examples(4 * STEPS))

    def begin(output: str) -> subprocess.Popen[bytes]:
        often = "publisher.checkpoints.every_steps=2"
        settings = [f"updater.model={directory}", "updater.dropout=0.1", "updater.threads=1", often, *more]
        command = [sys.executable, "-m", "streamlearn", "finetune", f"--data={data}", f"--output={tmp_path / output}"]
        arguments = [*command, "--epochs=2", *(f"--set={setting}" for setting in settings)]
        return subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=os.environ | {"HF_HUB_OFFLINE": "1"})

    def newest(output: str) -> int:
        kept = (tmp_path / f"{output}.unfinished" / "checkpoints").glob("0*")
        return max((int(path.name.partition("-")[0]) for path in kept), default=0)

    assert begin("unbroken").wait(200) == 0
    for step in (10, STEPS + 4):  # in the first pass, and in the second
        victim = begin("broken")
        wait_until(lambda step=step: newest("broken") >= step, f"step {step}", seconds=200)  # type: ignore[misc]
        victim.kill()
        victim.wait()
    assert not (tmp_path / "broken").exists()
    assert begin("broken").wait(200) == 0
    weights = sorted(path.relative_to(tmp_path / "unbroken") for path in tmp_path.glob("unbroken/**/*.safetensors"))
    assert len(weights) > 1  # those of the model, and of the mixture or the adapter
    assert [
        path
        for path in weights
        if (tmp_path / "broken" / path).read_bytes() != (tmp_path / "unbroken" / path).read_bytes()
    ] == []
