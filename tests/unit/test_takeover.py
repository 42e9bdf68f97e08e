"""What a takeover tells whoever looks on, with a real learner and no Kafka."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.decisions import Step
from streamlearn.events import Outcome
from streamlearn.learner import Learner
from streamlearn.pipeline import Pipeline
from streamlearn.reports import MicroBatch
from tests.unit.conftest import MakeConfig
from tests.unit.kept import flip, state


@pytest.fixture
def pipeline(make_config: MakeConfig, tmp_path: Path) -> Pipeline:
    """A pipeline of which nothing has been started."""
    return Pipeline(make_config(f"publisher.directory={tmp_path}", "updater.experts=[naive_bayes]"))


def test_steps_that_are_re_run_without_a_checkpoint_are_shown_once(
    pipeline: Pipeline, micro_batches: list[MicroBatch]
) -> None:
    batches = [replace(batch, outcomes=Counter({Outcome.TRAINED: 4})) for batch in micro_batches[:3]]
    views: list[dict[str, Any]] = []
    for _ in range(2):  # the same process takes over again
        learner = Learner(pipeline._config)
        pipeline._takeover._restore(learner)
        for number, batch in enumerate(batches, 1):
            pipeline._step(learner, Step(number, batch.ranges), batch)
        views.append(pipeline.monitor.live.view())
    assert views[1]["course"]["events"] == [4, 8, 12]
    for name in ("course", "predictions", "latest", "counts"):
        assert views[1][name] == views[0][name], name


def test_a_past_that_cannot_be_read_is_named_once_and_not_with_every_look(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise OSError(5, "Input/output error")

    path = CheckpointStore(tmp_path / "checkpoints", keep=2).write(1, 0, state(1), b"{}")
    flip(path / "history.json")
    monkeypatch.setattr(pipeline.publisher.snapshots, "newest", refuse)
    for _ in range(3):
        pipeline._parts.recall()
    assert caplog.text.count(f"the history in checkpoint {path.name} is passed over") == 1
