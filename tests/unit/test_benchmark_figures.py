"""The figures of the learning benchmark, on runs of which they can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation import Kept, kept_over_subsets, over_subsets
from benchmarks.figures import FIRST, WORST, Run, figures, recovery
from benchmarks.ours import Notes
from benchmarks.report import Runs, quoted, table
from benchmarks.runs import Task
from benchmarks.streams import Stream


def make_run(correct: np.ndarray, loss: float = 1.0) -> Run:
    return Run(correct, np.full(len(correct), loss), seconds=2.0, mebibytes=100.0)


def make_stream(name: str, parts: list[str], size: int) -> Stream:
    events = size * len(parts)
    ends = [size * (index + 1) for index in range(len(parts))]
    return Stream(name, [str(n) for n in range(events)], ["xy"[n % 2] for n in range(events)], parts, ends)


def wrong(events: int, *spans: tuple[int, int]) -> np.ndarray:
    correct = np.ones(events, dtype=np.bool_)
    for begin, end in spans:
        correct[begin:end] = False
    return correct


def test_accuracy_is_counted_where_it_is_said_to_be() -> None:
    correct = wrong(3000, (0, 150), (1000, 1250), (2000, 2030))
    found = figures(make_stream("s", ["A", "B", "A"], 1000), make_run(correct))
    assert found["overall"] == pytest.approx(1 - 430 / 3000, abs=1e-4)
    assert found["first_300"] == 0.5
    assert (found["part_1"], found["part_2"], found["part_3"]) == (0.85, 0.75, 0.97)
    assert (found["first_500"], found["first_500_3"], found["return"]) == (0.5, 0.94, 0.9)
    assert (found["log_loss"], found["events_per_second"], found["mebibytes"]) == (1.0, 1500.0, 100.0)


def test_one_part_has_no_switch_and_no_return() -> None:
    found = figures(make_stream("s", ["all"], 1000), make_run(wrong(1000)))
    assert not {"first_500", "recovery_events", "return"} & set(found)


def test_recovery_is_the_end_of_the_first_window_that_is_as_good_as_before() -> None:
    correct = wrong(2000, (1000, 1100))
    assert recovery(correct, 0, 1000, 2000) == 294  # of the 200 events up to there, 6 are wrong: 3 points
    assert recovery(wrong(2000), 0, 1000, 2000) == 200
    assert recovery(wrong(2000, (1000, 2000)), 0, 1000, 2000) == 1000
    assert recovery(wrong(1100, (1000, 1100)), 0, 1000, 1100) == 100


def test_an_event_costs_no_more_than_a_millionth() -> None:
    assert figures(make_stream("s", ["all"], 400), make_run(wrong(400), np.inf))["log_loss"] == WORST


def test_what_is_quoted_is_the_best_peer_and_the_tiers() -> None:
    stream = make_stream("newsgroups", ["A", "B", "A"], 1000)
    own = {
        "tuned": make_run(wrong(3000, (0, 30))),
        "tokens": make_run(wrong(3000, (0, 60))),
        "river_softmax": make_run(wrong(3000, (0, 300), (1000, 1050))),
        "vowpal_wabbit": make_run(wrong(3000, (0, 90), (1000, 1300))),
    }
    top = quoted({"newsgroups": {name: Runs([stream], [run]) for name, run in own.items()}})
    assert (top["newsgroups_overall"], top["tier1_newsgroups_overall"]) == (0.99, 0.98)
    assert (top["best_peer_newsgroups_overall_is"], top["best_peer_newsgroups_first_300"]) == ("river_softmax", 0.7)
    assert top["best_peer_newsgroups_recovery_events_is"] == "river_softmax"
    assert "best_peer_sentiment_overall" not in top


def test_the_table_has_a_line_for_each_learner() -> None:
    stream = make_stream("newsgroups", ["A", "B", "A"], 1000)
    lines = table("newsgroups", {"tuned": Runs([stream], [make_run(wrong(3000))])}).splitlines()
    assert lines[-1].startswith("| streamlearn | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 / 1.000 | 200 / 200 |")
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_what_is_kept_is_named_by_settings_and_stream() -> None:
    one, other = make_stream("s", ["A"], 10), make_stream("s", ["A"], 11)
    paths = {
        Task("tokens", "s").path(one),
        Task("tokens", "s").path(other),
        Task("tokens", "s", 1).path(one),
        Task("tokens", "s", overrides=("updater.micro_batch=8",)).path(one),
        Task("river_softmax", "s").path(one),
    }
    assert len(paths) == 5
    assert Task("tokens", "s").path(one) in paths


def test_experts_are_mixed_again_as_they_were(tmp_path: Path) -> None:
    draw, notes, known = np.random.default_rng(0), Notes(), 0
    for step in range(60):
        targets = draw.integers(2 if step < 10 else 3, size=4)
        known = max(known, int(targets.max()) + 1)
        good = 4.0 * np.eye(known)[targets] + draw.normal(size=(4, known))
        each = np.stack([good, draw.normal(size=(4, known))])
        notes.each.append((each - np.log(np.exp(each).sum(-1, keepdims=True))).astype(np.float32))
        notes.targets.append(targets.tolist())
    np.savez(tmp_path / "kept.npz", **notes.arrays(["good", "transformer"]))
    kept = Kept(tmp_path / "kept.npz")
    assert not kept.mixed(["good"])[0][0]  # its label had not been met before
    found = over_subsets(kept, make_stream("s", ["all"], 240))
    assert found["all"]["overall"] > 0.9
    assert found["transformer alone"]["overall"] < 0.5
    assert found["without transformer"] == found["good alone"] == found["tier tokens alone"]
    assert f"first_{FIRST}" in found["all"]


def test_subsets_are_mixed_once_for_as_long_as_what_was_kept_is_the_same(tmp_path: Path) -> None:
    path, stream, notes = tmp_path / "kept.npz", make_stream("s", ["all"], 8), Notes()
    for right in (0.9, 0.1):
        notes.each, notes.targets = [np.log([[[right, 1 - right]] * 4]).astype(np.float32)] * 2, [[0, 1, 0, 0], [0] * 4]
        np.savez(path, **notes.arrays(["softmax"]))
        first = kept_over_subsets(path, stream)
        made = path.with_suffix(".json").stat().st_mtime_ns
        assert kept_over_subsets(path, stream) == first
        assert path.with_suffix(".json").stat().st_mtime_ns == made
        assert (first["all"]["overall"] > 0.4) == (right > 0.5)
