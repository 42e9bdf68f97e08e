from __future__ import annotations

import logging
from pathlib import Path

import pytest

from streamlearn.checkpointing.journal import Journal, Stretch
from streamlearn.decisions import Step
from streamlearn.errors import StateError
from streamlearn.records import Range

CONFIGURATION = {"updater": {"seed": 0}}


def decided(step: int, epoch: int = 1) -> Step:
    """Return the step `step`, whose partition says in which epoch it was recorded."""
    return Step(step, [Range("t", epoch, 4 * step, 4 * step + 4, 4)])


def write(directory: Path, after: int, *steps: int, epoch: int = 1) -> Journal:
    """Record `steps` as a learner does that becomes active after the step `after`."""
    journal = Journal(directory, configuration=CONFIGURATION)
    journal.begin(after, epoch=epoch)
    for step in steps:
        journal.append(decided(step, epoch))
    journal.close()
    return journal


def segment(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_recorded_steps_come_back_in_their_order(tmp_path: Path) -> None:
    journal = write(tmp_path, 0, 1, 2, 3)
    assert journal.decisions(0) == [decided(1), decided(2), decided(3)]
    assert journal.decisions(2) == [decided(3)]
    assert journal.decisions(3) == []


def test_nothing_is_recorded_before_recording_has_begun(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", configuration=CONFIGURATION)
    journal.rotate(0)
    journal.append(decided(1))
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_torn_tail_is_cut(tmp_path: Path, cut: int) -> None:
    journal = write(tmp_path, 0, 1, 2, 3)
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert journal.decisions(0) == [decided(1), decided(2)]


def test_a_flipped_bit_is_named_and_what_follows_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = write(tmp_path, 0, 1, 2, 3)
    path = segment(tmp_path)
    content = path.read_bytes()
    for index in range(len(content)):
        damaged = bytearray(content)
        damaged[index] ^= 1
        path.write_bytes(damaged)
        found = journal.decisions(0)
        assert found == [decided(step) for step in range(1, len(found) + 1)]
        assert len(found) < 3
    assert f"{path} is damaged at line 2" in caplog.text


def test_where_an_epoch_begins_later_steps_of_the_one_before_are_void(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, 3, 4)
    journal = write(tmp_path, 2, 3, epoch=2)
    assert journal.decisions(0) == [decided(1), decided(2), decided(3, epoch=2)]


def test_a_gap_ends_what_can_be_taken_again(tmp_path: Path) -> None:
    assert write(tmp_path, 0, 1, 2, 4).decisions(0) == [decided(1), decided(2)]


def test_what_is_asked_of_a_part_is_what_the_whole_says_of_it_over_epochs_segments_and_gaps(tmp_path: Path) -> None:
    journal = Journal(tmp_path, configuration=CONFIGURATION)
    for epoch, (begin, steps) in enumerate([(0, range(1, 9)), (5, range(6, 10)), (8, [9, 10, 12]), (12, [13])], 1):
        journal.begin(begin, epoch=epoch)
        for step in steps:
            journal.append(decided(step, epoch))
            if step % 3 == 0:
                journal.rotate(step)
        journal.close()
    whole = journal.decisions(0)
    assert [(decision.step, decision.ranges[0].partition) for decision in whole] == [
        *((step, 1) for step in range(1, 6)),
        *((step, 2) for step in range(6, 9)),
        *((step, 3) for step in (9, 10)),
    ]
    for after in range(11):
        assert journal.decisions(after) == whole[after:]
        assert journal.reaches(after) == 10
        for to in range(after, 11):
            found = [decision for stretch in journal.stretches(after, to=to) for decision in stretch.decisions]
            assert found == whole[after:to]
    assert (journal.reaches(11), journal.reaches(12), journal.reaches(13)) == (13, 13, 13)


def test_segments_go_once_every_step_of_theirs_is_behind(tmp_path: Path) -> None:
    journal = Journal(tmp_path, configuration=CONFIGURATION)
    journal.begin(0, epoch=1)
    for step in range(1, 10):
        journal.append(decided(step))
        if step % 3 == 0:
            journal.rotate(step)
    journal.trim(5)
    assert [segment.step for segment in journal.segments()] == [3, 6, 9]
    assert journal.decisions(5) == [decided(step) for step in range(6, 10)]
    journal.trim(9)
    assert [segment.step for segment in journal.segments()] == [9]


def test_a_disk_that_refuses_stops_the_record_until_the_next_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "journal"
    directory.touch()  # not a directory
    journal = Journal(directory, configuration=CONFIGURATION)
    journal.begin(0, epoch=1)
    journal.append(decided(1))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    directory.unlink()
    journal.rotate(1)
    journal.append(decided(2))
    assert journal.decisions(0) == []
    assert journal.decisions(1) == [decided(2)]


def test_a_record_of_another_configuration_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 0, 1)
    assert Journal(tmp_path, configuration={"updater": {"seed": 1}}).decisions(0) == [decided(1)]
    assert "another configuration" in caplog.text


def test_the_configuration_of_a_step_is_known(tmp_path: Path) -> None:
    journal = write(tmp_path, 3, 4)
    assert journal.configuration(3) == CONFIGURATION
    with pytest.raises(StateError, match="does not reach back to step 2"):
        journal.configuration(2)
    segment(tmp_path).write_bytes(b"00000000 {}\n")
    with pytest.raises(StateError, match="first line is not what was written"):
        journal.configuration(3)


def test_steps_taken_again_under_another_configuration_are_recorded_under_that_one(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, 3, 4)
    other = Journal(tmp_path, configuration={"updater": {"seed": 1}})
    other.begin(4, epoch=2, since=2)
    other.append(decided(5, 2))
    other.close()
    before, after = other.stretches(0)
    assert before == Stretch(CONFIGURATION, [decided(1), decided(2)])
    assert after == Stretch({"updater": {"seed": 1}}, [decided(3), decided(4), decided(5, 2)])
    assert other.stretches(0, to=2) == [before]
    assert other.configuration(2) == other.configuration(4) == {"updater": {"seed": 1}}
    assert not list(tmp_path.glob(".tmp*"))


def test_steps_taken_again_under_the_same_configuration_stay_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, 3)
    same = Journal(tmp_path, configuration=CONFIGURATION)
    same.begin(3, epoch=2, since=1)
    same.close()
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "00000001-000000000000.jsonl",
        "00000002-000000000003.jsonl",
    ]
    assert same.stretches(0) == [Stretch(CONFIGURATION, [decided(1), decided(2), decided(3)])]


def test_steps_recorded_once_more_keep_the_isolation_level_that_they_were_read_with(tmp_path: Path) -> None:
    uncommitted = {"kafka": {"client": {"isolation_level": "read_uncommitted"}}}
    first = Journal(tmp_path, configuration=uncommitted)
    first.begin(0, epoch=1)
    first.append(decided(1))
    first.close()
    levels = []
    for epoch, configuration in ((2, CONFIGURATION), (3, uncommitted), (4, CONFIGURATION)):
        journal = Journal(tmp_path, configuration=configuration)  # killed before it has written a checkpoint
        levels += [decision.isolation_level for decision in journal.decisions(0)]
        journal.begin(1, epoch=epoch, since=0)
        journal.close()
    assert levels == ["read_uncommitted"] * 3
