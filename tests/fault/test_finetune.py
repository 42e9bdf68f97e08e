"""A fine-tuning that is killed, as a process, and given again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.learner import wait_until
from tests.unit.test_finetune import examples, write, written

STEPS = 60  # of the first pass, in micro-batches of four


def test_killed_twice_and_given_again_a_fine_tuning_comes_to_the_same_bits(tiny_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", examples(4 * STEPS))

    def begin(output: str) -> subprocess.Popen[bytes]:
        often = "publisher.checkpoints.every_steps=2"
        settings = f"updater.model={tiny_model}", "updater.dropout=0.1", "updater.threads=1", often
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
    assert written(tmp_path / "broken") == written(tmp_path / "unbroken")
