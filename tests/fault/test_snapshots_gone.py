"""A directory of snapshots that cannot be used, and a copy that cannot be made: learning and checkpoints go on."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.config import Config
from streamlearn.learner import Learner
from streamlearn.local.broker import Broker
from streamlearn.pipeline import Pipeline
from streamlearn.state import State
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, event, learnt, send, surviving_state, wait_until, with_topic
from tests.integration.test_trouble import running, trained

TOPICS = itertools.count()
AS_ITS_OWNER = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")  # modes bind root too


def lock(snapshots: Path) -> None:
    snapshots.chmod(0)


def unlock(snapshots: Path) -> None:
    snapshots.chmod(0o755)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(snapshots: Path) -> None:
        snapshots.rename(snapshots.with_name("aside"))
        make(snapshots)

    return replace


def put_back(snapshots: Path) -> None:
    snapshots.unlink()
    snapshots.with_name("aside").rename(snapshots)


def configured(broker: Broker, model: Path, directory: Path) -> tuple[Config, list[str]]:
    overrides = [
        *settings(broker, f"snapshots-{next(TOPICS)}", model, directory),
        "events.holdout_ratio=0",
        "publisher.snapshots.every_steps=5",
    ]
    config = with_topic(overrides)
    return config, overrides


@pytest.mark.parametrize(
    ("breaks", "heals"),
    [
        (lock, unlock),
        (replaced(Path.touch), put_back),
        (replaced(lambda path: path.symlink_to("nowhere")), put_back),
        (replaced(os.mkfifo), put_back),
    ],
    ids=["mode 000", "a file", "a link to nothing", "a FIFO"],
)
def test_a_snapshot_directory_that_cannot_be_used_costs_snapshots_alone(
    broker: Broker, tiny_model: Path, tmp_path: Path, breaks: Callable[[Path], None], heals: Callable[[Path], None]
) -> None:
    if not shutil.which(AS_ITS_OWNER[0]) or subprocess.run([*AS_ITS_OWNER, "true"], check=False).returncode:
        pytest.skip("this user may not give up a capability")
    config, overrides = configured(broker, tiny_model, tmp_path)
    snapshots = config.publisher.directory / "snapshots"
    learner = LearnerProcess(overrides, by=AS_ITS_OWNER)
    try:
        send(config, [event(n) for n in range(160)])
        learner.wait_for("streamlearn_events_total", 160, outcome="trained")
        learner.wait_for("streamlearn_publishes_total", 1, outcome="published")
        breaks(snapshots)
        written = learner.metric("streamlearn_checkpoints_total", outcome="written")
        send(config, [event(n) for n in range(160, 320)])
        learner.wait_for("streamlearn_events_total", 320, outcome="trained")
        learner.wait_for("streamlearn_publishes_total", 1, outcome="failed")
        learner.wait_for("streamlearn_checkpoints_total", written + 1, outcome="written")
        assert learner.metric("streamlearn_checkpoints_total", outcome="failed") == 0
        if breaks is lock:  # a takeover does not wait for it either
            learner.kill()
            learner = LearnerProcess(overrides, by=AS_ITS_OWNER)
            send(config, [event(n) for n in range(320, 400)])
            learner.wait_for("streamlearn_events_total", 80, outcome="trained")
            learner.wait_for("streamlearn_publishes_total", 1, outcome="failed")
        heals(snapshots)
        published = learner.metric("streamlearn_publishes_total", outcome="published")
        send(config, [event(n) for n in range(400, 560)])
        learner.wait_for("streamlearn_publishes_total", published + 1, outcome="published")
        assert learner.terminate() == 0, learner.stderr()
    finally:
        learner.kill()


def test_a_capture_that_fails_is_a_failed_checkpoint_and_learning_goes_on(
    broker: Broker, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = configured(broker, tiny_model, tmp_path)
    failures = iter([OSError(errno.EMFILE, os.strerror(errno.EMFILE)), MemoryError(), RuntimeError("can't allocate")])
    state = Learner.state

    def failing(learner: Learner) -> State:
        for failure in failures:
            raise failure
        return state(learner)

    monkeypatch.setattr(Learner, "state", failing)
    pipeline = Pipeline(config)
    with running(pipeline):
        send(config, [event(n) for n in range(640)])
        wait_until(lambda: trained(pipeline) == 640, "all is learnt")
    assert pipeline.monitor.metrics.checkpoints.labels("failed")._value.get() == 3
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(640)]
    assert pipeline.publisher.snapshots.latest() == pipeline.publisher.version > 0
