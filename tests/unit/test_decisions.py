from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from streamlearn.checkpointing.journal import Journal
from streamlearn.decisions import Seek, Step, Unknown, decode
from streamlearn.errors import StateError
from streamlearn.events import Outcome
from streamlearn.learner import Learner
from streamlearn.records import Range
from streamlearn.reports import MicroBatch, Standing
from streamlearn.state import State
from tests.unit.builders import flat, learn
from tests.unit.conftest import MakeConfig
from tests.unit.decided import Forget, known

CONFIGURATION = {"updater": {"seed": 0}}
BEFORE = (
    b'{"configuration":{"updater":{"seed":0}},"topics":{"t":"AAAA"}}',
    b'{"step":1,"ranges":[["t",0,0,4,4]]}',
    b'{"step":2,"ranges":[["t",0,4,8,4],["t",1,0,2,1]]}',
)
"""The lines of a segment from before there was more than one kind of decision."""
STEPS = [
    Step(1, [Range("t", 0, 0, 4, 4)], {"t": "AAAA"}),
    Step(2, [Range("t", 0, 4, 8, 4), Range("t", 1, 0, 2, 1)], {"t": "AAAA"}),
]


def write_segment(directory: Path, *payloads: bytes) -> Journal:
    """Write the first segment of a journal by hand."""
    lines = [b"%08x %s\n" % (zlib.crc32(payload), payload) for payload in payloads]
    (directory / "00000001-000000000000.jsonl").write_bytes(b"".join(lines))
    return Journal(directory, configuration=CONFIGURATION)


def test_the_journals_of_before_are_read_and_a_step_is_written_as_it_was(tmp_path: Path) -> None:
    journal = write_segment(tmp_path, *BEFORE)
    assert journal.decisions(0) == STEPS
    written = Journal(tmp_path / "new", configuration=CONFIGURATION)
    written.topics = {"t": "AAAA"}
    written.begin(0, epoch=1)
    for step in STEPS:
        written.append(msgspec.structs.replace(step, topics={}))
    written.close()
    name = "00000001-000000000000.jsonl"
    assert (tmp_path / "new" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_decision_of_another_kind_comes_back_from_the_journal_as_it_was(tmp_path: Path) -> None:
    decisions = [Step(1, [Range("t", 0, 0, 4, 4)]), Forget(2), Forget(3, [Range("t", 0, 4, 8, 4)], count=5)]
    journal = Journal(tmp_path, configuration=CONFIGURATION)
    journal.begin(0, epoch=1)
    for decision in decisions:
        journal.append(decision)
    with known():
        assert journal.decisions(0) == decisions
        other = Journal(tmp_path, configuration={})
        other.begin(3, epoch=2, since=0)  # which records them once more
        (stretch,) = other.stretches(0)
    assert (stretch.configuration, stretch.decisions) == ({}, decisions)


def test_a_kind_that_a_newer_version_has_recorded_ends_what_is_gone_on_from_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newer = b'{"kind":"forget","step":2,"of":"what"}'
    journal = write_segment(tmp_path, *BEFORE[:2], newer, BEFORE[2].replace(b'"step":2', b'"step":3'))
    assert journal.decisions(0) == STEPS[:1]
    (line,) = caplog.messages
    assert line == (
        f"the journal in {tmp_path} records step 2 as a 'forget', which a newer streamlearn has written and this one "
        "does not know; what is recorded from there on is learnt again"
    )
    assert [stretch.decisions for stretch in journal.stretches(0, to=1)] == [STEPS[:1]]
    for to in (2, 3, None):
        with pytest.raises(StateError, match="records step 2 as a 'forget', which a newer streamlearn has written"):
            journal.stretches(0, to=to, quiet=True)


def test_what_is_void_may_be_of_any_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = write_segment(tmp_path, *BEFORE[:2], b'{"kind":"forget","step":2}')
    journal.begin(1, epoch=2)
    journal.append(Step(2, []))
    assert journal.decisions(0) == [STEPS[0], Step(2, [])]
    assert not caplog.messages


@pytest.mark.parametrize("line", [b"7", b"[]", b'{"kind":"forget"}', b'{"kind":1,"step":1}', b'{"step":"1"}', b"{"])
def test_a_line_that_is_no_decision_at_all_is_damage(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(line)


def test_an_unknown_kind_is_told_by_its_name() -> None:
    assert decode(b'{"kind":"leap","step":7,"to":{}}') == Unknown(7, "leap")


def test_a_field_that_a_newer_version_has_added_makes_a_decision_unknown() -> None:
    assert decode(b'{"step":7,"ranges":[["t",0,1,2,1]],"weights":[2.0]}') == Unknown(7, "step")


def test_a_decision_acts_before_its_step_is_learnt_and_again_with_the_same_bits(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    config = make_config()
    one, other, without = Learner(config), Learner(config), Learner(config)
    for learner in (one, other, without):
        learn(learner, micro_batches[0])
        learn(learner, micro_batches[1])
    reports = [learner.learn(Forget(3, count=6), micro_batches[2]) for learner in (one, other)]
    assert [report.replayed for report in reports] == [2, 2]  # of the eight that were held
    assert learn(without, micro_batches[2]).replayed == 4
    assert flat(one.state()) == flat(other.state())


def test_what_a_step_says_was_offered_and_published_is_what_lwf_goes_by(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    def taken(*decisions: Step) -> State:
        learner = Learner(make_config("updater.regularizer=lwf"))
        for decision, batch in zip(decisions, micro_batches, strict=False):
            learner.learn(decision, batch)
        state: State = learner.state()["updater"]["transformer"]["regularizer"]
        return state

    offered = taken(Step(1), Step(2, offered=True), Step(3))["offered"]
    published = taken(Step(1), Step(2, offered=True), Step(3, published=True), Step(4))
    assert flat(published["weights"]) == flat(offered["weights"])
    assert "offered" not in published
    both = taken(Step(1), Step(2, offered=True), Step(3, published=True, offered=True))
    assert flat(both["weights"]) == flat(offered["weights"]) != flat(both["offered"]["weights"])
    assert "weights" not in taken(Step(1), Step(2, published=True))
    Learner(make_config()).learn(Step(1, offered=True), micro_batches[0])  # by someone else: nobody heeds it


def test_a_decision_without_records_is_a_step_of_its_own(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    learner = Learner(make_config())
    learn(learner, micro_batches[0])
    positions = dict(learner.positions)
    report = learner.learn(Forget(2), MicroBatch())
    assert (report.step, report.result, learner.step) == (2, None, 2)
    assert (learner.positions, len(learner.buffer), learner.fruitless) == (positions, 3, 0)


def test_a_seek_moves_positions_counts_what_it_passes_over_and_leaves_what_has_been_learnt(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    learner = Learner(make_config())
    learn(learner, micro_batches[0])
    before = learner.state()
    report = learner.learn(Seek(2, positions=[("t", 0, 400), ("t", 1, 7)], skipped=396), MicroBatch())
    assert (report.step, report.result, learner.proven) == (2, None, False)
    assert learner.positions == {("t", 0): 400, ("t", 1): 7}
    assert learner.counts["skipped"] == 396
    changed = {path for path, value in flat(learner.state()).items() if flat(before).get(path) != value}
    assert {path.split("/")[1] for path in changed} == {"step", "positions", "counts"}


def test_a_seek_that_moves_back_has_the_events_learnt_again_and_not_dropped_as_duplicates(
    make_config: MakeConfig, micro_batches: list[MicroBatch]
) -> None:
    event = micro_batches[0].fresh[0]
    forward, back = Learner(make_config()), Learner(make_config())
    for learner, offset in ((forward, 400), (back, 0)):
        learn(learner, replace(micro_batches[0], ids=[event.id]))
        assert learner.draft().admit(event) is Outcome.DUPLICATE
        learner.learn(Seek(2, positions=[("t", 0, offset)]), MicroBatch())
    assert forward.draft().admit(event) is Outcome.DUPLICATE
    assert back.draft().admit(event) is Outcome.TRAINED


def test_a_decision_about_another_step_than_the_next_one_is_refused(make_config: MakeConfig) -> None:
    learner = Learner(make_config())
    with pytest.raises(ValueError, match="step 2 cannot follow step 0"):
        learner.learn(Step(2), MicroBatch())
    assert learner.step == 0


def test_where_a_learner_stands_is_a_copy(make_config: MakeConfig, micro_batches: list[MicroBatch]) -> None:
    learner = Learner(make_config("buffer.records=9", "monitor.accuracy_window=50"))
    new = learner.standing()
    assert new.place() == Standing().place() == {"step": 0, "version": 0, "positions": {}}
    learn(learner, micro_batches[0])
    learn(learner, micro_batches[1])
    standing = learner.standing()
    learn(learner, micro_batches[2])
    assert (new.step, standing.step, standing.positions) == (0, 2, {("t", 0): 8})
    assert (standing.buffer_records, standing.buffer_capacity, sum(standing.by_label.values())) == (8, 9, 8)
    assert set(standing.drift_means) == {"loss", "error"}
    assert 0 <= standing.accuracy <= 1
    assert standing.place() == {"step": 2, "version": 0, "positions": {"t/0": 8}}
