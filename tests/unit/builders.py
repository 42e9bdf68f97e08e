"""Events, Kafka records and steps made by hand."""

from __future__ import annotations

import io
from typing import Any

import torch

from streamlearn.decisions import Step
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.local.tiny import WORDS
from streamlearn.records import Record
from streamlearn.reports import MicroBatch, StepReport


def make_event(number: int, label: str | int | None = None, text: str | None = None) -> Event:
    """Return the event `number`, whose text and label follow from it."""
    words = [WORDS[(number * step) % len(WORDS)] for step in (1, 7, 11)] + WORDS[: number % 6]
    chosen = f"label-{number % 3}" if label is None else label
    return Event(text or " ".join(words), chosen, f"e{number}", 1.7e9 + number, "t", 0, number)


def make_record(value: bytes | None, *, offset: int = 0, **fields: Any) -> Record:
    """Return a record of the topic ``t`` that holds `value`."""
    given = {"topic": "t", "partition": 0, "timestamp": 1_700_000_000_000, "key": None, "headers": []} | fields
    return Record(offset=offset, value=value, **given)


def learn(learner: Learner, batch: MicroBatch) -> StepReport:
    """Let `learner` take the next step over `batch`, about which nothing else was decided."""
    return learner.learn(Step(learner.step + 1, batch.ranges), batch)


def flat(state: object, path: str = "") -> dict[str, object]:
    """Return the leaves of `state` by path, tensors as bytes."""
    if isinstance(state, dict):
        return {k: v for name, child in state.items() for k, v in flat(child, f"{path}/{name}").items()}
    if isinstance(state, list):
        return {k: v for index, child in enumerate(state) for k, v in flat(child, f"{path}/{index}").items()}
    if isinstance(state, torch.Tensor):
        return {path: state.numpy().tobytes()}
    return {path: repr(state)}


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
