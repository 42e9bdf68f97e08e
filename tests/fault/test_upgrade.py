"""The state of a streamlearn whose transformer learnt alone: what today's defaults say of it, and how it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from streamlearn.checkpointing.checkpoints import CheckpointStore, step_of
from streamlearn.checkpointing.lines import Header, as_header, as_line
from streamlearn.commands.compare import compare
from streamlearn.commands.rebuild import rebuild
from streamlearn.config import Config, digest, load
from streamlearn.learner import Learner
from streamlearn.local.broker import Broker
from streamlearn.publisher.snapshots import SnapshotStore
from tests.fault.bits import assert_same_bits
from tests.fault.streams import learner_settings, stream
from tests.fault.test_odd_state import streamlearn
from tests.fault.victim import exit_code, start
from tests.integration.learner import send, surviving_state, with_topic

ALONE = ["updater.experts=[transformer]", "updater.pooling=native", "updater.trains=all"]
ONE_RATE = ["updater.head_learning_rate=1e-4"]


def age(config: Config) -> None:
    """Take out of the state of `config` what an earlier streamlearn did not write."""
    directory = config.publisher.directory
    for segment in (directory / "journal").glob("*.jsonl"):
        first, *lines = segment.read_bytes().splitlines(keepends=True)
        header = as_header(first)
        before = header.configuration
        for name in ("experts", "pooling"):
            del before["updater"][name]
        before["updater"]["head_learning_rate"] = None
        segment.write_bytes(as_line(Header(before, header.topics)) + b"".join(lines))
    checkpoints = CheckpointStore(directory / "checkpoints", keep=1000)
    for name in checkpoints.names():
        state = checkpoints.read(name)
        del state["updater"]["steps"]
        shutil.rmtree(checkpoints.directory / name)
        checkpoints.write(step_of(name), state["version"], state)
    learner = Learner(config)
    learner.load(surviving_state(directory))
    export = learner.export(learner.state())
    shutil.rmtree(directory / "snapshots")
    SnapshotStore(directory / "snapshots").write(
        learner.version, learner.step, export, {"config_digest": digest(before)}
    )


def test_a_state_from_before_the_mixture_is_refused_with_what_to_set_and_with_that_goes_on(
    broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    plain = [*learner_settings(broker, "upgraded", tiny_model, tmp_path), "publisher.checkpoints.keep=1000"]
    alone = [*plain, *ALONE, *ONE_RATE]
    config, records = with_topic(alone), list(stream(160))
    send(config, records)
    assert exit_code(start(alone, until=len(records) // 2)) == 0
    age(config)
    for command in ("check", "run"):
        done = streamlearn(command, plain)
        assert done.returncode == 4
        assert "set updater.experts: [transformer], updater.pooling: native and" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    assert rebuild(load(overrides=plain), "latest").difference is None
    assert exit_code(start(alone, until=len(records))) == 0
    unbroken = [*alone, f"publisher.directory={tmp_path / 'unbroken'}", "kafka.group=unbroken"]
    assert exit_code(start(unbroken, until=len(records))) == 0
    state, expected = surviving_state(config.publisher.directory), surviving_state(tmp_path / "unbroken")
    assert_same_bits(state | {"version": 0}, expected | {"version": 0})
    first = min(path.name for path in (config.publisher.directory / "checkpoints").iterdir())
    recorded, other = compare(load(overrides=alone), from_step=step_of(first))
    assert (recorded.steps, recorded.loss) == (other.steps, other.loss)
