"""How several predictions become one: no worse than the best of them, whatever the others say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamlearn.updater.pool import AT_START, Pool

EVENTS, LABELS, TOGETHER = 4_000, 4, 4


def stream(seed: int) -> tuple[list[int], list[Tensor]]:
    """Return labels, and the predictions of two experts that know different things of them."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(LABELS, size=EVENTS)
    truth = np.eye(LABELS)[labels]
    each = [(3.0 * truth + draw.normal(0.0, 1.5, (EVENTS, LABELS))) for _ in range(2)]
    return labels.tolist(), [torch.from_numpy(logits).log_softmax(-1) for logits in each]


def guessing(seed: int, sharpness: float) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.0, sharpness, (EVENTS, LABELS))).log_softmax(-1)


def accuracy(labels: list[int], each: list[Tensor]) -> float:
    pool, correct = Pool(len(each)), 0
    for first in range(0, EVENTS, TOGETHER):
        rows = slice(first, first + TOGETHER)
        own, targets = [one[rows] for one in each], labels[rows]
        correct += int((pool.predict(own).argmax(-1) == torch.tensor(targets)).sum())
        pool.learn(own, targets)
    return correct / EVENTS


@pytest.mark.parametrize("seed", range(3))
def test_two_that_know_different_things_are_better_than_either(seed: int) -> None:
    labels, each = stream(seed)
    alone = [float((one.argmax(-1) == torch.tensor(labels)).double().mean()) for one in each]
    assert accuracy(labels, each) > max(alone) + 0.02


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sharpness", [0.5, 20.0], ids=["guessing", "confidently wrong"])
def test_an_expert_of_no_use_costs_nothing(seed: int, sharpness: float) -> None:
    labels, each = stream(seed)
    assert accuracy(labels, [*each, guessing(seed + 100, sharpness)]) > accuracy(labels, each) - 0.002


def test_what_is_not_finite_says_nothing() -> None:
    pool, some = Pool(2), torch.tensor([[0.7, 0.3], [0.2, 0.8]]).double().log()
    broken = torch.tensor([[float("nan"), 0.0], [-0.5, -0.9]])
    mixed = pool.predict([some, broken])
    assert bool(torch.isfinite(mixed).all())
    torch.testing.assert_close(mixed[0].argmax(), some[0].argmax())
    pool.learn([some, broken], [0, 1])
    assert all(np.isfinite(pool.weights))


def test_whoever_joins_a_pool_starts_over_and_the_others_go_on() -> None:
    labels, each = stream(7)
    before, after = Pool(2), Pool(3)
    before.learn([one[:8] for one in each], labels[:8])
    after.load(before.state(), [1, None, 0])
    assert after.weights == [before.weights[1], AT_START / 3, before.weights[0]]


def test_whoever_remembers_best_is_not_blamed_for_labels_that_nobody_could_know() -> None:
    many, pool = 100, Pool(2)
    nothing = torch.zeros(1, many).double().log_softmax(-1)
    for label in range(many):  # each for the first time: one expert names another label, and is sure of it
        sure = torch.zeros(1, many).double()
        sure[0, label - 1] = 9.0
        assert pool.learn([sure.log_softmax(-1), nothing], [label]) == [0.0, 0.0]
    assert pool.weights == [AT_START / 2, AT_START / 2]
    pool.learn([nothing, nothing], [3])
    assert pool.learn([nothing[:0], nothing[:0]], []) == [0.0, 0.0]


def test_after_a_switch_it_listens_to_whoever_is_right_now_within_some_micro_batches() -> None:
    labels, (good, other) = stream(4)
    pool, switch = Pool(2), 500
    for step, first in enumerate(range(0, EVENTS, TOGETHER)):
        rows = slice(first, first + TOGETHER)
        wrong = running_away(labels, rows, 6.0)
        one, two = (good[rows], other[rows]) if step < switch else (wrong, good[rows])
        pool.learn([one, two], labels[rows])
        if step == switch - 1:
            before = pool.weights
        if step == switch + 10:
            assert pool.weights[0] < before[0] - 0.4  # by .03 a micro-batch it would be .3 at most


def test_one_label_is_no_question_and_teaches_nothing() -> None:
    pool = Pool(2)
    pool.learn([torch.zeros(3, 1), torch.zeros(3, 1)], [0, 0, 0])
    assert pool.weights == [AT_START / 2, AT_START / 2]
    assert pool.predict([torch.zeros(3, 1)] * 2).tolist() == [[0.0]] * 3


def test_how_sure_it_is_follows_how_often_it_is_right() -> None:
    labels, each = stream(0)
    pool, sure, right = Pool(2), list[float](), list[bool]()
    for first in range(0, EVENTS, TOGETHER):
        rows = slice(first, first + TOGETHER)
        own, targets = [one[rows] for one in each], labels[rows]
        confidence, likeliest = pool.predict(own).exp().max(-1)
        sure += confidence.tolist()
        right += (likeliest == torch.tensor(targets)).tolist()
        pool.learn(own, targets)
    half = EVENTS // 2
    assert np.mean(sure[half:]) == pytest.approx(np.mean(right[half:]), abs=0.03)


def running_away(labels: list[int], rows: slice, scale: float) -> Tensor:
    """Return predictions that are the surer of a wrong label the larger `scale` is."""
    wrong = torch.tensor([(label + 1) % LABELS for label in labels[rows]])
    return (torch.nn.functional.one_hot(wrong, LABELS).double() * scale).log_softmax(-1)


def test_an_expert_whose_loss_runs_away_is_left_out_and_comes_back_when_it_is_better_than_guessing() -> None:
    labels, (good, other) = stream(1)
    pool, seen = Pool(3), list[str]()
    for step, first in enumerate(range(0, EVENTS, TOGETHER)):
        rows = slice(first, first + TOGETHER)
        third = running_away(labels, rows, 10.0 * 1.1 ** min(step, 200)) if step < 200 else good[rows]
        pool.learn([good[rows], other[rows], third], labels[rows])
        seen.append(pool.left_out[2])
        assert pool.left_out[:2] == ["", ""]
        assert (pool.weights[2] == 0.0) >= (pool.left_out[2] != "")
    assert seen[5] == ""
    assert seen[199] == "runaway"
    assert seen[-1] == ""
    assert pool.weights[2] != 0.0


def test_nobody_is_left_out_because_the_world_has_changed_at_once() -> None:
    labels, (good, other) = stream(6)
    pool, changed = Pool(3), 300  # steps, after which the third is as sure as it can be, and as wrong
    for step, first in enumerate(range(0, EVENTS, TOGETHER)):
        rows = slice(first, first + TOGETHER)
        right = torch.nn.functional.one_hot(torch.tensor(labels[rows]), LABELS).double()
        third = (20.0 * right).log_softmax(-1) if step < changed else running_away(labels, rows, 20.0)
        pool.learn([good[rows], other[rows], third], labels[rows])
        assert pool.left_out == ["", "", ""]


def test_how_often_there_are_labels_now_is_learnt_where_no_expert_says_so() -> None:
    pool, nothing = Pool(2), torch.zeros(TOGETHER, 3).double().log_softmax(-1)
    for often in (0, 2):
        for _ in range(600):
            pool.learn([nothing, nothing], [often, often, often, 1])
        shares = pool.predict([nothing, nothing])[0].exp()
        assert int(shares.argmax()) == often
        assert float(shares[1]) == pytest.approx(0.25, abs=0.1)


def test_an_expert_that_started_over_is_heard_again_once_it_is_better_than_guessing() -> None:
    labels, (good, other) = stream(2)
    pool = Pool(2)
    for step, first in enumerate(range(0, EVENTS // 4, TOGETHER)):
        if step == 50:
            pool.leave_out(1, "not_finite", anew=True)
        rows = slice(first, first + TOGETHER)
        second = other[rows] if step < 50 or step >= 80 else torch.zeros_like(other[rows]).log_softmax(-1)
        pool.learn([good[rows], second], labels[rows])
        if 50 <= step < 80:
            assert pool.left_out == ["", "not_finite"]
            assert pool.weights[1] == 0.0
    assert pool.left_out == ["", ""]
    assert pool.weights[1] > 0.0


def test_saved_and_loaded_it_goes_on_with_the_same_bits() -> None:
    labels, each = stream(3)
    one, other = Pool(2), Pool(2)
    for first in range(0, 200, TOGETHER):
        rows = slice(first, first + TOGETHER)
        one.learn([expert[rows] for expert in each], labels[rows])
    one.leave_out(0, "runaway")
    other.load(one.state(), [0, 1])
    assert bool(one.state()["biases"].any())
    for pool in (one, other):
        for first in range(200, 400, TOGETHER):
            rows = slice(first, first + TOGETHER)
            pool.learn([expert[rows] for expert in each], labels[rows])
    assert str(one.state()) == str(other.state())
    assert torch.equal(one.predict([expert[:9] for expert in each]), other.predict([expert[:9] for expert in each]))
