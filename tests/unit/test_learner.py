from __future__ import annotations

import torch

from streamlearn.config import Config
from streamlearn.consumer.admission import Outcome
from streamlearn.consumer.intake import MicroBatch
from streamlearn.events import Reason
from streamlearn.learner import Learner
from streamlearn.state import State
from tests.unit.conftest import MakeConfig


def final_state(config: Config, batches: list[MicroBatch], *, saved_after: int | None = None) -> State:
    """Learn `batches`, going over to a new learner after so many of them."""
    learner = Learner(config)
    for number, batch in enumerate(batches):
        if number == saved_after:
            state = learner.state()
            learner = Learner(config)
            learner.load(state)
        learner.learn(batch)
    return learner.state()


def flat(state: object, path: str = "") -> dict[str, object]:
    """Return the leaves of `state` by path, tensors as bytes."""
    if isinstance(state, dict):
        return {k: v for name, child in state.items() for k, v in flat(child, f"{path}/{name}").items()}
    if isinstance(state, list):
        return {k: v for place, child in enumerate(state) for k, v in flat(child, f"{path}/{place}").items()}
    if isinstance(state, torch.Tensor):
        return {path: state.numpy().tobytes()}
    return {path: repr(state)}


def test_a_saved_learner_goes_on_with_the_same_bits(make_config: MakeConfig, micro_batches: list[MicroBatch]) -> None:
    config = make_config("buffer.records=9")
    unbroken = flat(final_state(config, micro_batches))
    for saved_after in (1, 5, 11):
        assert flat(final_state(config, micro_batches, saved_after=saved_after)) == unbroken


def test_what_cannot_be_learnt_goes_to_the_dead_letters_and_not_into_the_buffer(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    learner = Learner(make_config("events.labels=[label-0, label-1, label-2]"))
    with torch.no_grad():
        learner.updater._expert.model.classifier.bias[0] = float("nan")
    batch = micro_batches[0]
    batch.outcomes[Outcome.TRAINED] = 4
    report = learner.learn(batch)
    assert report.refused == [(record, Reason.NOT_FINITE) for record in batch.records]
    assert report.outcomes == {Outcome.DEAD_LETTER: 4}
    assert (len(learner.buffer), learner.positions) == (0, {("t", 0): 4})


def test_replayed_events_come_from_the_buffer_by_the_ratio(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    learner = Learner(make_config("updater.replay_ratio=1.5"))
    assert [learner.learn(batch).replayed for batch in micro_batches[:4]] == [0, 4, 6, 6]


def test_a_micro_batch_without_fresh_events_moves_the_positions_and_not_the_weights(make_config: MakeConfig) -> None:
    learner = Learner(make_config())
    before = flat(learner.updater.state())
    report = learner.learn(MicroBatch(positions={("t", 3): 9}))
    assert report.result is None
    assert learner.positions == {("t", 3): 9}
    assert flat(learner.updater.state()) == before
