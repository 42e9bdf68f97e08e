"""A copy of a state directory, made by the documented commands while the learner went on: it is gone on from."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state
from tests.tutorial import blocks

PAGE = Path(__file__).parents[2] / "docs/how-to/backup.md"
SENT, MORE = 400, 200


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """Apache Kafka where there is one, the development broker otherwise."""
    return one_broker


def test_a_copy_made_by_the_documented_commands_while_it_learns_goes_on_and_learns_each_event_once(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    state = config.publisher.directory
    backup = state.parent / "backup"
    (commands,) = [block.text for block in blocks(PAGE.read_text()) if block.kind == "bash"]
    learner = start_learner("events.holdout_ratio=0", "publisher.checkpoints.every_steps=1")
    send(config, map(event, range(SENT)))
    learner.wait_for("streamlearn_checkpoints_total", 2, outcome="written")
    copied = subprocess.run(["bash", "-c", commands], cwd=state.parent, capture_output=True, text=True, check=False)
    assert copied.returncode == 0 or "No such file" in copied.stderr, copied.stderr  # one that was let go meanwhile
    learner.wait_for("streamlearn_events_total", SENT, outcome="trained")
    learner.kill()
    shutil.rmtree(state)
    backup.rename(state)
    send(config, map(event, range(SENT, SENT + MORE)))
    restored = start_learner("events.holdout_ratio=0")
    restored.wait_until_learning()
    assert "continuing at step" in restored.stderr()
    restored.wait_for("streamlearn_buffer_records", SENT + MORE)
    assert restored.terminate() == 0
    assert learnt(surviving_state(state)) == [(0, offset) for offset in range(SENT + MORE)]
