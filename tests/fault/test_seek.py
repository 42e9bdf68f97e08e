"""An operator moves a learner that was killed; whatever is killed then, it is moved once, and with the same bits."""

from __future__ import annotations

import errno
import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamlearn.checkpointing.fence import Fence
from streamlearn.checkpointing.journal import Journal
from streamlearn.checkpointing.keeper import Keeper
from streamlearn.commands import seek as command
from streamlearn.commands.compare import compare
from streamlearn.commands.rebuild import rebuild
from streamlearn.commands.retracing import open_journal
from streamlearn.config import load
from streamlearn.consumer.client import make_admin
from streamlearn.decisions import Seek
from streamlearn.errors import StateError
from streamlearn.local.broker import Broker
from streamlearn.pipeline import Pipeline
from streamlearn.reports import StepReport
from streamlearn.state import State
from tests.fault.bits import assert_same_bits
from tests.fault.streams import learner_settings, stream
from tests.fault.victim import deadly, exit_code, start
from tests.forked import FORKS
from tests.integration.learner import send, surviving_state, with_topic

POINTS: dict[str, tuple[Any, str]] = {
    "claim": (Fence, "claim"),
    "a segment's first line": (Journal, "begin"),
    "its line": (Journal, "append"),
    "decision": (Keeper, "decide"),
    "offset commit": (command, "commit"),
}
"""After which the command is killed."""
BACK_TO = 59  # where a step began, so that none waits for more at the end
LAST = 32  # the step that is recorded before it is killed


def move(overrides: list[str], point: str) -> None:
    """Move the learner of `overrides` back; the process kills itself at `point`."""
    if point:
        owner, name = POINTS[point]
        setattr(owner, name, deadly(getattr(owner, name), 1, signal.SIGKILL))
    command.seek(load(overrides=overrides), f"offsets:0={BACK_TO}", back=True)


def moved(overrides: list[str], point: str = "") -> int | None:
    process = FORKS.Process(target=move, args=(overrides, point))
    process.start()
    return exit_code(process)


@pytest.fixture(scope="module")
def filled(broker: Broker, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many records there are in a topic of one partition, where micro-batches follow from the offsets."""
    config = with_topic(learner_settings(broker, "sought", tiny_model, tmp_path_factory.mktemp("sought")))
    records = list(stream(200))
    send(config, records)
    return len(records)


def settings_in(broker: Broker, model: Path, directory: Path) -> list[str]:
    return [*learner_settings(broker, "sought", model, directory), "publisher.checkpoints.keep=1000"]


def killed(overrides: list[str], records: int) -> None:
    """Let a learner be killed with recorded steps behind its checkpoint."""
    assert exit_code(start(overrides, until=records, point="optimiser step", nth=33)) == -signal.SIGKILL


@pytest.fixture(scope="module")
def unbroken(broker: Broker, filled: int, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    """The state to which a learner comes that is moved by a command which nobody kills."""
    overrides = settings_in(broker, tiny_model, tmp_path_factory.mktemp("unbroken"))
    killed(overrides, filled)
    assert moved(overrides) == 0
    assert exit_code(start(overrides, until=filled)) == 0
    return surviving_state(load(overrides=overrides).publisher.directory)


@pytest.mark.parametrize("point", POINTS)
def test_killed_after_any_point_the_command_given_again_moves_once_and_the_bits_are_the_same(
    broker: Broker, filled: int, unbroken: State, tiny_model: Path, tmp_path: Path, point: str
) -> None:
    overrides = settings_in(broker, tiny_model, tmp_path)
    config = load(overrides=overrides)
    killed(overrides, filled)
    assert moved(overrides, point) == -signal.SIGKILL
    assert moved(overrides) == 0
    (sought,) = open_journal(config).decisions(LAST)
    assert isinstance(sought, Seek)
    assert (sought.step, sought.positions, sought.skipped) == (LAST + 1, [("sought", 0, BACK_TO)], 0)
    with closing(make_admin(config.kafka)) as admin:
        (offset,) = admin.list_group_offsets(config.kafka.group)[config.kafka.group].values()
    assert offset.offset == BACK_TO
    assert exit_code(start(overrides, until=filled)) == 0
    state = surviving_state(config.publisher.directory)
    assert sum(state["counts"].values()) > filled
    assert_same_bits(state | {"version": unbroken["version"]}, unbroken)


def test_given_again_the_command_syncs_what_one_that_was_killed_before_that_has_written(
    broker: Broker, filled: int, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = settings_in(broker, tiny_model, tmp_path)
    config = load(overrides=overrides)
    killed(overrides, filled)
    assert moved(overrides, "its line") == -signal.SIGKILL
    recorded = open_journal(config).segments()[-1].path
    assert b'"seek"' in recorded.read_bytes()
    synced = set[int]()
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as refused:
        refused.setattr(os, "fsync", refuse)
        with pytest.raises(StateError, match=r"is there already, but .* could not be synced \(Input/output error\)"):
            command.seek(config, f"offsets:0={BACK_TO}", back=True)
    monkeypatch.setattr(os, "fsync", watched)
    again = command.seek(config, f"offsets:0={BACK_TO}", back=True)
    assert (again.done, again.moves) == (True, [])
    assert {path.stat().st_ino for path in (recorded, recorded.parent)} <= synced


def test_whoever_starts_without_the_command_being_given_again_goes_on_and_rebuild_and_compare_lead_over_it(
    broker: Broker, filled: int, unbroken: State, tiny_model: Path, tmp_path: Path
) -> None:
    overrides = settings_in(broker, tiny_model, tmp_path)
    config = load(overrides=overrides)
    killed(overrides, filled)
    assert moved(overrides, "its line") == -signal.SIGKILL
    again = start(overrides, until=filled, point="optimiser step", nth=10)  # the seek is re-run, then once more
    assert exit_code(again) == -signal.SIGKILL
    assert exit_code(start(overrides, until=filled)) == 0
    state = surviving_state(config.publisher.directory)
    assert_same_bits(state | {"version": unbroken["version"]}, unbroken)
    made = rebuild(config, "latest")
    assert (made.difference, made.step) == (None, state["step"])
    recorded, same = compare(config, from_step=28)
    assert recorded.steps == state["step"] - 28
    assert (recorded.loss, recorded.accuracy) == (same.loss, same.accuracy)
    _, other = compare(config, others={"sixteen": load(overrides=[*overrides, "updater.micro_batch=16"])}, from_step=28)
    assert other.events == recorded.events


def test_a_snapshot_of_the_very_step_that_moved_it_can_be_made_again_also_under_a_changed_configuration(
    broker: Broker, filled: int, tiny_model: Path, tmp_path: Path
) -> None:
    overrides = settings_in(broker, tiny_model, tmp_path)
    killed(overrides, filled)
    sets = ["publisher.snapshots.every_steps=1000", "updater.learning_rate=0.003"]
    config = load(overrides=[*overrides, *sets])
    command.seek(load(overrides=[*overrides, "updater.learning_rate=0.5"]), f"offsets:0={BACK_TO}", back=True)
    stopping = threading.Event()

    def end_behind_the_seek(report: StepReport) -> None:
        if report.step == LAST + 1:
            stopping.set()

    Pipeline(config, on_step=end_behind_the_seek, stopping=stopping).run()
    state = surviving_state(config.publisher.directory)
    assert (state["step"], state["positions"]) == (LAST + 1, [["sought", 0, BACK_TO]])
    made = rebuild(config, "latest")
    assert (made.difference, made.step) == (None, LAST + 1)
