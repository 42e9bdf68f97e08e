"""Odd things in the state directory of a real learner: it goes on from what is whole, or says one sentence."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamlearn.config import load
from streamlearn.consumer.client import create_topic
from streamlearn.local.broker import Broker, NoidaDB
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, with_topic


def streamlearn(command: str, overrides: list[str]) -> subprocess.CompletedProcess[str]:
    arguments = [f"--set={override}" for override in overrides]
    return subprocess.run(
        [sys.executable, "-m", "streamlearn", command, *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_killed_learner_goes_on_over_odd_files_from_what_is_whole(
    broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    if isinstance(broker, NoidaDB):
        pytest.skip("the development broker never misses a member whose seat is gone")
    overrides = [*settings(broker, "odd-state", tiny_model, tmp_path), "events.holdout_ratio=0"]
    config = with_topic(overrides)
    state, outside = config.publisher.directory, tmp_path / "outside"
    outside.write_text("precious")
    send(config, [event(n) for n in range(160)])
    learner = LearnerProcess(overrides)
    try:
        learner.wait_for("streamlearn_events_total", 160, outcome="trained")
        learner.wait_for("streamlearn_checkpoints_total", 2, outcome="written")
    finally:
        learner.kill()

    newest = max((state / "checkpoints").iterdir())
    (newest / "state.json").unlink()
    os.mkfifo(newest / "state.json")
    seat = state / "seats" / f"{platform.node()}-0"
    seat.unlink()
    seat.symlink_to(outside)
    (state / "journal" / "99999999-000000000000.jsonl").mkdir()
    (state / "checkpoints" / "999999999999-00000000").symlink_to(outside)
    (state / "snapshots" / "latest").unlink(missing_ok=True)
    (state / "snapshots").mkdir(exist_ok=True)
    (state / "snapshots" / "latest").symlink_to("latest")

    checked = streamlearn("check", overrides)
    assert checked.returncode == 0, checked.stdout
    assert "its newest whole checkpoint is of step" in checked.stdout
    send(config, [event(n) for n in range(160, 320)])
    learner = LearnerProcess(overrides)
    try:
        learner.wait_for("streamlearn_checkpoints_total", 2, outcome="written")
        learner.wait_for("streamlearn_buffer_records", 320)  # of the events trained, those re-run count too
        assert learner.terminate() == 0, learner.stderr()
        said = learner.stderr()
    finally:
        learner.kill()
    assert learnt(surviving_state(state)) == [(0, offset) for offset in range(320)]
    assert f"checkpoint {newest.name} is refused: {newest / 'state.json'} is a FIFO" in said
    assert f"ignoring a seat: {seat} is a symbolic link" in said
    assert "Traceback" not in said
    assert outside.read_text() == "precious"

    other = streamlearn("check", [*overrides, "kafka.group=another"])
    assert other.returncode == 4
    assert "holds the state of group odd-state of topic odd-state, and this learner is of group another" in other.stdout


def test_what_a_start_cannot_do_without_is_named_by_check_and_run(ended: list[str], tmp_path: Path) -> None:
    state = shutil.copytree(load(overrides=ended).publisher.directory, tmp_path / "state")
    overrides = [*ended, f"publisher.directory={state}"]
    outside = tmp_path / "outside"
    outside.write_text("precious")
    for name in ("lock", "fence.json", "journal"):
        aside = (state / name).rename(tmp_path / "aside")
        (state / name).symlink_to(outside)
        for command in ("check", "run"):
            done = streamlearn(command, overrides)
            assert done.returncode == 4, done.stderr
            assert f"{name} is a symbolic link where a" in done.stdout + done.stderr
            assert "Traceback" not in done.stderr
        (state / name).unlink()
        aside.rename(state / name)
    assert outside.read_text() == "precious"


def test_the_state_of_another_learner_is_as_it_was_after_a_check_and_a_start(
    broker: Broker, tiny_model: Path, ended: list[str], tmp_path: Path
) -> None:
    mine = shutil.copytree(load(overrides=ended).publisher.directory, tmp_path / "state")
    claim = json.loads((mine / "fence.json").read_text())
    before = sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in mine.rglob("*"))
    overrides = [*settings(broker, "somebody-else", tiny_model, tmp_path), f"publisher.directory={mine}"]
    create_topic(load(overrides=overrides).kafka, "somebody-else")
    for command in ("check", "run"):
        done = streamlearn(command, overrides)
        assert done.returncode == 4
        assert f"holds the state of {claim['source']}, and this learner is of group somebody-else" in (
            done.stdout + done.stderr
        )
    assert sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in mine.rglob("*")) == before
