"""Whether a state is the one that an unbroken learner comes to, to the last bit."""

from __future__ import annotations

from typing import Any

import torch

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.commands.retracing import open_journal
from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.learner import Learner
from streamlearn.recovery import retake
from streamlearn.state import State
from tests.integration.learner import surviving_state


def assert_each_event_once_and_the_same_bits(config: Config, records: int) -> None:
    state = surviving_state(config.publisher.directory)
    assert sum(position for _, _, position in state["positions"]) == records
    assert sum(state["counts"].values()) == records
    assert_same_bits(state, unbroken_by_the_record(config, state))


def unbroken_by_the_record(config: Config, state: State) -> State:
    """Return what a learner comes to that takes all steps recorded since the first checkpoint without a break."""
    learner = Learner(config)
    checkpoints = CheckpointStore(config.publisher.directory / "checkpoints", keep=1000)
    learner.load(checkpoints.read(checkpoints.names()[0]))
    assert learner.step < state["step"] / 2
    for _ in retake(learner, open_journal(config).decisions(learner.step), make_source(config)):
        pass
    learner.version = state["version"]
    return learner.state()


def assert_same_bits(one: Any, other: Any, path: str = "") -> None:
    """Both states are the same, every tensor to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same_bits(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one.view(-1).view(torch.uint8), other.view(-1).view(torch.uint8)), path
    elif isinstance(one, list) and one and isinstance(one[0], dict):
        assert len(one) == len(other), path
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_same_bits(first, second, f"{path}/{index}")
    elif path.endswith(("/events", "/validation", "/test", "/reference")):
        assert [(e.id, e.text, e.tokens.tolist()) for e in one] == [(e.id, e.text, e.tokens.tolist()) for e in other]
    else:
        assert one == other, path
