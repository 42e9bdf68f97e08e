"""Every command of the runbooks that only looks is run against a live system; the others are at least shell."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlearn.local.broker import Broker
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, send, with_topic
from tests.ops.runbooks import RUNBOOKS, Block, Desk, blocks
from tests.ops.stack import Stack, Target, needs

BLOCKS = [block for path in sorted(RUNBOOKS.glob("*.md")) for block in blocks(path)]
LOOKS = [block for block in BLOCKS if block.kind == "bash"]
SHELL = [block for block in BLOCKS if block.kind in {"bash", "sh"}]


@pytest.fixture(scope="module")
def desk(broker: Broker, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk beside a healthy learner that has learnt, refused and published something."""
    needs("prometheus", "prometheus-alertmanager", "promtool", "amtool")
    directory = tmp_path_factory.mktemp("desk")
    overrides = settings(broker, "healthy", tiny_model, directory)
    config = with_topic(overrides)
    learner = LearnerProcess(overrides)
    stack = None
    try:
        send(config, [*map(event, range(400)), b"poison"])
        learner.wait_for("streamlearn_publishes_total", 1, outcome="published")
        learner.wait_for("streamlearn_dead_letters_total", 1, reason="not_json")
        stack = Stack(directory, [Target(learner.port, "healthy")], factor=15)
        yield Desk(directory, overrides, learner, stack)
    finally:
        if stack:
            stack.close()
        learner.kill()


@pytest.mark.parametrize("block", LOOKS, ids=str)
def test_a_command_that_only_looks_works_on_a_healthy_system(block: Block, desk: Desk) -> None:
    if block.asks_kafka and not os.environ.get("KAFKA_HOME"):
        pytest.skip("KAFKA_HOME names no Apache Kafka, whose tools it runs")
    done = desk.run(block.text)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_is_shell(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_every_block_says_what_it_is_and_belongs_to_a_step_or_a_fix() -> None:
    assert {block.kind for block in BLOCKS} == {"bash", "sh", "text"}
    assert {str(block) for block in BLOCKS if not block.place} == set()


def test_the_page_has_the_outcome_of_every_incident_that_is_walked() -> None:
    walked = re.findall(r"^def (test_\w+)\(", (Path(__file__).parent / "test_incidents.py").read_text(), re.MULTILINE)
    assert re.findall(r"\(`(test_\w+)`\) \|", (RUNBOOKS / "README.md").read_text()) == walked
