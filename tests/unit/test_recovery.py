from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from streamlearn.commands.compare import regrouped
from streamlearn.commands.retracing import recorded
from streamlearn.config import Config, digest, load
from streamlearn.consumer.queue import arrival
from streamlearn.decisions import Decision, Seek, Step
from streamlearn.errors import StateError
from streamlearn.learner import Learner
from streamlearn.records import Arrival, Range
from streamlearn.recovery import reread, retake
from tests.unit.builders import flat, make_event, make_record
from tests.unit.conftest import MakeConfig
from tests.unit.decided import Forget


def as_recorded(config: Config) -> dict[str, object]:
    """Return what the journal keeps of `config`, read from its line."""
    settings: dict[str, object] = json.loads(json.dumps(config.decisive()))
    return settings


def test_what_decides_the_state_is_taken_from_the_record_and_the_rest_from_what_is_given() -> None:
    before = load(
        overrides=[
            "updater.learning_rate=0.5",
            "updater.model_overrides={layers: 3}",
            "events.labels=[a, b]",
            "monitor.drift.delta=0.1",
            "monitor.accuracy_window=7",
            "monitor.port=1",
            "kafka.topic=before",
        ]
    )
    secret = "updater.model_overrides={heads: 2, token: hidden}"  # which is recorded nowhere
    now = load(overrides=[secret, "monitor.port=2", "kafka.topic=now"])
    found = recorded(now, as_recorded(before))
    assert found.decisive() == before.decisive()
    assert found.digest() == before.digest() == digest(as_recorded(before))
    assert (found.monitor.port, found.kafka.topic) == (2, "now")
    assert found.updater.model_overrides == {"layers": 3, "token": "hidden"}


def test_the_detectors_settings_are_part_of_what_decides() -> None:
    assert load(overrides=["monitor.drift.delta=0.1"]).digest() != load().digest() == load().digest()
    assert load(overrides=["monitor.port=1"]).digest() == load().digest()


def test_a_record_of_an_earlier_version_that_names_less_leaves_the_rest_as_it_is_given() -> None:
    now = load(overrides=["monitor.drift.delta=0.1"])
    earlier = as_recorded(load(overrides=["updater.seed=3"]))
    del earlier["monitor"]
    found = recorded(now, earlier)
    assert (found.updater.seed, found.monitor.drift.delta) == (3, 0.1)


def test_what_was_recorded_before_the_mixture_is_the_transformer_alone_with_one_rate() -> None:
    earlier = as_recorded(load(overrides=["updater.learning_rate=0.5"]))
    before: dict[str, object] = earlier["updater"]  # type: ignore[assignment]
    del before["experts"], before["pooling"]
    found = recorded(load(), earlier).updater
    assert (found.experts, found.pooling, found.head_learning_rate) == (["transformer"], "native", 0.5)
    before["head_learning_rate"] = 0.1
    assert recorded(load(), earlier).updater.head_learning_rate == 0.1


def test_a_recorded_value_that_this_version_cannot_use_is_one_sentence() -> None:
    settings = as_recorded(load())
    settings["updater"] = {"learning_rate": -1}
    with pytest.raises(StateError, match=r"a value of updater\.learning_rate that this version cannot use"):
        recorded(load(), settings)


class Log:
    """Stands for a source: whatever range is wanted has its events."""

    def __init__(self) -> None:
        self.asked = 0

    def reread(self, ranges: Iterable[Range], *, isolation_level: str) -> Log:
        assert list(ranges)
        assert isolation_level == "read_committed"
        self.asked += 1
        return self

    def topic_id(self, _: str) -> None:
        return None

    def read(self, wanted: Range) -> Arrival:
        events = [make_event(offset) for offset in range(wanted.first, wanted.end)]
        records = [make_record(b"", offset=event.offset) for event in events]
        return arrival((wanted.topic, wanted.partition), records, list(events), begin=wanted.first, end=wanted.end)

    def close(self) -> None:
        """There is nothing to give back."""


def over(first: int, end: int) -> list[Range]:
    return [Range("t", 0, first, end, end - first)]


def test_what_was_learnt_again_behind_a_seek_is_read_again_from_there(make_config: MakeConfig) -> None:
    log, decisions = (
        Log(),
        [Step(1, over(0, 4)), Seek(2, positions=[("t", 0, 2)]), Step(3, over(2, 6)), Step(4, over(6, 9))],
    )
    steps = list(reread(decisions, log))  # type: ignore[arg-type]
    assert [step.decision for step in steps] == decisions
    assert log.asked == 2
    learner = Learner(make_config("events.holdout_ratio=0"))
    reports = list(retake(learner, decisions, log))  # type: ignore[arg-type]
    assert [len(report.learnt) for report in reports] == [4, 0, 4, 3]
    assert learner.positions == {("t", 0): 9}


DECISIONS: list[Decision] = [
    Step(1, over(0, 4)),
    Forget(2, count=2),
    Step(3, over(4, 8)),
    Forget(4, over(8, 14), count=3),
    Step(5, over(14, 18)),
]


def test_decisions_of_every_kind_are_re_run_in_their_order(make_config: MakeConfig) -> None:
    config = make_config("events.holdout_ratio=0", "updater.replay_ratio=1")
    lived, recovered, log = Learner(config), Learner(config), Log()
    held = []
    for decision in DECISIONS:
        draft = lived.draft()
        for wanted in decision.ranges:
            draft.take(log.read(wanted))
        lived.learn(decision, draft.batch)
        held.append(len(lived.buffer))
    assert held == [4, 2, 6, 9, 13]
    reports = list(retake(recovered, DECISIONS, log))  # type: ignore[arg-type]
    assert [len(report.learnt) for report in reports] == [4, 0, 4, 6, 4]
    assert flat(recovered.state()) == flat(lived.state())


def test_decisions_without_records_are_re_run_without_asking_the_source(make_config: MakeConfig) -> None:
    learner, log = Learner(make_config()), Log()
    assert [report.step for report in retake(learner, [Forget(1), Forget(2)], log)] == [1, 2]  # type: ignore[arg-type]
    assert not log.asked


def test_in_micro_batches_of_another_size_a_decision_acts_where_it_did_on_its_own_records(
    make_config: MakeConfig,
) -> None:
    learner = Learner(make_config("events.holdout_ratio=0"))
    reports = list(regrouped(learner, reread(DECISIONS, Log()), 3))  # type: ignore[arg-type]
    learnt = [[event.offset for event in report.learnt] for report in reports]
    assert learnt == [[0, 1, 2], [3], [], [4, 5, 6], [7], [8, 9, 10, 11, 12, 13], [14, 15, 16], [17]]
    assert learner.step == len(reports)


def test_in_micro_batches_of_another_size_a_publication_is_told_where_it_was(make_config: MakeConfig) -> None:
    learner = Learner(make_config("events.holdout_ratio=0", "updater.regularizer=lwf"))
    steps = [Step(1, over(0, 4)), Step(2, over(4, 8), offered=True), Step(3, over(8, 12), published=True)]
    reports = list(regrouped(learner, reread(steps, Log()), 3))  # type: ignore[arg-type]
    learnt = [[event.offset for event in report.learnt] for report in reports]
    assert learnt == [[0, 1, 2], [3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert learner.state()["updater"]["transformer"]["regularizer"]["follows"] is True
