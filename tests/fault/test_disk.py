"""A disk that is full, read-only or gone: learning goes on, nothing is committed, and it heals with the disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from streamlearn.pipeline import Pipeline
from streamlearn.publisher.snapshots import SnapshotStore
from tests.conftest import fill
from tests.integration.conftest import settings
from tests.integration.learner import event, learnt, send, surviving_state, wait_until, waits_for, with_topic
from tests.integration.test_trouble import running, trained

Disk = Callable[[Path], object]
COUNTS = iter(range(100))


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True)


def free(disk: Path) -> None:
    (disk / "filler").unlink()


def freeze(disk: Path) -> None:
    run("mount", "--bind", disk / "state", disk / "state")
    run("mount", "-o", "remount,bind,ro", disk / "state")


def thaw(disk: Path) -> None:
    run("umount", disk / "state")


def remove(disk: Path) -> None:
    shutil.rmtree(disk / "state")
    (disk / "state").touch()  # nothing can be made there


def restore(disk: Path) -> None:
    (disk / "state").unlink()


def committed(config: Config) -> int | None:
    reader = KafkaConsumer(bootstrap_servers=config.kafka.bootstrap_servers, group_id=config.kafka.group)
    offset: int | None = reader.committed(TopicPartition(config.kafka.topic, 0))
    reader.close()
    return offset


def checkpoints(pipeline: Pipeline, outcome: str) -> float:
    return float(pipeline.monitor.metrics.checkpoints.labels(outcome)._value.get())


def on_disk(broker: Broker, model: Path, disk: Path) -> Config:
    """Return the configuration of a learner with its state on `disk`, and create its topic."""
    overrides = [
        *settings(broker, f"disk-{next(COUNTS)}", model, disk),
        "events.holdout_ratio=0",
        "publisher.checkpoints.every_seconds=0.5",  # the last steps come while a checkpoint is being written
        "publisher.snapshots.every_steps=5",
    ]
    return with_topic(overrides)


@pytest.mark.parametrize(
    ("breaks", "heals"), [(fill, free), (freeze, thaw), (remove, restore)], ids=["full", "read-only", "vanished"]
)
def test_learning_goes_on_and_nothing_is_committed_until_the_disk_heals(
    broker: Broker, disk: Path, tiny_model: Path, breaks: Disk, heals: Disk
) -> None:
    config = on_disk(broker, tiny_model, disk)
    pipeline = Pipeline(config)
    with running(pipeline):
        send(config, [event(n) for n in range(160)])
        wait_until(lambda: trained(pipeline) == 160, "what came before is learnt")
        wait_until(lambda: committed(config) == 160 and not pipeline.publisher.busy, "all of it is in a checkpoint")
        breaks(disk)
        written = checkpoints(pipeline, "written")
        send(config, [event(n) for n in range(160, 320)])
        wait_until(lambda: trained(pipeline) == 320, "learning goes on without the disk")
        wait_until(lambda: checkpoints(pipeline, "failed") > 0, "the failure is counted")
        assert "checkpoint" in waits_for(pipeline)
        assert checkpoints(pipeline, "written") == written
        assert committed(config) == 160
        heals(disk)
        send(config, [event(n) for n in range(320, 480)])
        wait_until(lambda: trained(pipeline) == 480, "the rest is learnt")
        wait_until(lambda: checkpoints(pipeline, "written") > written, "a checkpoint is written again")
        assert "checkpoint" not in waits_for(pipeline)
    assert committed(config) == 480
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(480)]
    store = SnapshotStore(config.publisher.directory / "snapshots")
    assert store.verify(store.resolve("latest"))["events"] == {"trained": 480}


def test_a_takeover_waits_until_the_disk_is_no_longer_full(
    broker: Broker, disk: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = on_disk(broker, tiny_model, disk)
    first, second = Pipeline(config), Pipeline(config)
    send(config, [event(n) for n in range(160)])
    with running(first):
        wait_until(lambda: trained(first) == 160, "what came before is learnt")
    send(config, [event(n) for n in range(160, 320)])
    fill(disk)
    with running(second):
        wait_until(lambda: "takeover blocked, retrying: " in caplog.text, "the takeover waits")
        wait_until(lambda: "blocked" in second.monitor.waiting.takeover, "the page says so")
        free(disk)
        wait_until(lambda: trained(second) == 160, "the rest is learnt")
    assert caplog.text.count("takeover blocked, retrying: ") == 1
    assert not list(disk.rglob(".tmp-*"))
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(320)]
