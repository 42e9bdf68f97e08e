"""Learners of tiny language models: their settings, their texts, the steps that they take."""

from __future__ import annotations

from pathlib import Path

from streamlearn.capture import capture_snapshot
from streamlearn.config import Config
from streamlearn.consumer.queue import arrival
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.reports import MicroBatch, StepReport
from tests.unit.builders import learn, make_event, make_record


def settings(model: Path) -> list[str]:
    return [
        f"updater.model={model}",
        "updater.objective=language_model",
        "updater.max_tokens=32",
        "updater.trains=all",
        "updater.learning_rate=3e-3",
        "updater.warmup_steps=0",
        "events.holdout_ratio=0.2",
    ]


def event(number: int, text: str | None = None) -> Event:
    return make_event(number, label="", text=text)


def admitted(learner: Learner, *events: Event) -> MicroBatch:
    draft = learner.draft()
    records = [make_record(b"", offset=one.offset) for one in events]
    draft.take(arrival(("t", 0), records, list(events), begin=events[0].offset, end=events[-1].offset + 1))
    return draft.batch


def take(learner: Learner, *events: Event) -> StepReport:
    return learn(learner, admitted(learner, *events))


def take_steps(learner: Learner, first: int, last: int) -> None:
    for step in range(first, last):
        take(learner, *(event(4 * step + index) for index in range(4)))


def snapshot(learner: Learner, config: Config, directory: Path) -> Path:
    captured = capture_snapshot(learner, config, version=1)
    assert captured.export is not None
    return SnapshotStore(directory).write(1, learner.step, captured.export, captured.provenance)
