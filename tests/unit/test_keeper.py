"""What one learner keeps in its state directory, and what it says where it could not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.checkpointing import journal
from streamlearn.checkpointing import keeper as module
from streamlearn.checkpointing.fence import Fence
from streamlearn.checkpointing.keeper import Keeper
from streamlearn.config import Publisher as PublisherConfig
from streamlearn.decisions import Seek, Step
from streamlearn.errors import FencedError, NotKeptError, StateError
from streamlearn.records import Range
from tests.unit.kept import SOURCE, state


def make_keeper(directory: Path, *, keep: int = 3) -> Keeper:
    config = PublisherConfig.model_validate({"directory": directory, "checkpoints": {"keep": keep}})
    return Keeper(config, configuration={}, source=SOURCE)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """A keeper that has claimed its directory and records from the beginning."""
    keeper = make_keeper(tmp_path, keep=2)
    keeper.claim()
    keeper.begin(0)
    keeper.record(0)
    return keeper


def step(keeper: Keeper, number: int) -> None:
    keeper.journal.append(Step(number, [Range("t", 0, number - 1, number, 1)]))


def write(keeper: Keeper, number: int) -> None:
    """Write the checkpoint of step `number` as the publisher does."""
    keeper.rotate(number)
    keeper.write(number, 0, state(number))


def test_a_checkpoint_takes_the_journal_from_before_the_oldest_one_kept_away(keeper: Keeper) -> None:
    for number in range(1, 5):
        step(keeper, number)
        write(keeper, number)
    step(keeper, 5)
    assert (keeper.written, keeper.checkpoints.oldest()) == (4, 3)
    assert [segment.step for segment in keeper.journal.segments()] == [3, 4]
    assert [decision.step for decision in keeper.journal.decisions(3)] == [4, 5]


def test_a_journal_that_cannot_be_trimmed_costs_no_checkpoint_and_is_said_once(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as refused:
        refused.setattr(keeper.journal, "trim", refuse)
        write(keeper, 1)
        write(keeper, 2)
    assert keeper.written == 2
    keeper.require_written(2)
    assert caplog.text.count("could not remove journal segments before the oldest checkpoint") == 1
    write(keeper, 3)
    with monkeypatch.context() as refused:
        refused.setattr(keeper.journal, "trim", refuse)
        write(keeper, 4)
    assert caplog.text.count("could not remove journal segments before the oldest checkpoint") == 2


def test_what_is_in_no_checkpoint_is_said_with_the_reason_until_one_is_written(keeper: Keeper) -> None:
    keeper.require_written(0)
    with pytest.raises(NotKeptError, match=r"step 3; there is no checkpoint, because it was not written"):
        keeper.require_written(3)
    write(keeper, 1)
    keeper.missed(OSError("the disk is full"))
    assert keeper.unwritten(3)
    with pytest.raises(NotKeptError, match=r"step 3; the checkpoint is of step 1, because the disk is full"):
        keeper.require_written(3)
    write(keeper, 3)
    assert not keeper.unwritten(3)
    keeper.require_written(3)


def test_what_another_learner_has_claimed_is_not_for_us_to_keep(keeper: Keeper, tmp_path: Path) -> None:
    write(keeper, 1)
    assert not keeper.fence.lost
    other = make_keeper(tmp_path)
    other.claim()
    assert not keeper.fence.held
    with pytest.raises(FencedError):
        write(keeper, 2)
    assert keeper.fence.lost
    keeper.require_written(2)
    keeper.claim()
    assert (keeper.fence.lost, keeper.fence.held, other.fence.held) == (False, True, False)


def test_a_claim_voids_what_was_recorded_for_later_and_clears_away_what_writers_left(
    keeper: Keeper, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        step(keeper, number)
    left = [tmp_path / room / ".tmp-left" for room in (".", "checkpoints", "snapshots")]
    for path in left:
        path.mkdir(parents=True)
    keeper.claim()
    step(keeper, 4)  # nothing is recorded before the recording begins
    keeper.begin(0)
    keeper.record(2)
    assert [decision.step for decision in keeper.journal.decisions(0)] == [1, 2]
    step(keeper, 3)
    assert [decision.step for decision in keeper.journal.decisions(0)] == [1, 2, 3]
    assert [segment.epoch for segment in keeper.journal.segments()] == [1, 2]
    assert not [path for path in left if path.exists()]


def test_a_directory_of_another_group_is_neither_checked_nor_claimed(keeper: Keeper, tmp_path: Path) -> None:
    del keeper
    other = Keeper(PublisherConfig(directory=tmp_path), configuration={}, source="group h of topic t")
    with pytest.raises(StateError, match="holds the state of group g"):
        other.check()
    with pytest.raises(StateError, match="holds the state of group g"):
        other.claim()
    assert Fence(tmp_path, source=SOURCE).claim(0) == 2


def test_whoever_was_replaced_once_waits_for_the_disk_at_its_next_claim_like_any_other(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_keeper(keeper.fence.directory)
    other.claim()
    with pytest.raises(FencedError):
        write(keeper, 1)
    assert keeper.fence.lost

    def refuse() -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as refused:
        refused.setattr(keeper.journal, "epoch", refuse)
        with pytest.raises(OSError, match="Input/output"):
            keeper.claim()
    assert not keeper.fence.lost  # or the term would be over, and the disk not be waited for
    keeper.claim()
    write(keeper, 1)


def test_a_decision_of_an_operators_stands_behind_all_that_was_recorded_and_is_void_once_another_has_claimed(
    keeper: Keeper, tmp_path: Path
) -> None:
    step(keeper, 1)
    write(keeper, 1)
    step(keeper, 2)
    keeper.close()
    operator = make_keeper(tmp_path)
    operator.claim()
    operator.decide(Seek(3, positions=[("t", 0, 0)]), {"t": "AAAA"})
    decisions = operator.journal.decisions(1)
    assert [type(decision) for decision in decisions] == [Step, Seek]
    assert decisions[1].topics == {"t": "AAAA"}
    make_keeper(tmp_path).claim()
    with pytest.raises(FencedError):
        operator.decide(Seek(4, positions=[("t", 0, 1)]), {})
    assert operator.journal.decisions(1) == decisions


def test_a_decision_that_the_disk_does_not_hold_is_an_error(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper.journal, "append", lambda _: None)  # as a disk that is full lets it be
    with pytest.raises(StateError, match="does not hold what was written to it; nothing has changed"):
        keeper.decide(Seek(1, positions=[("t", 0, 5)]), {})
    assert keeper.journal.decisions(0) == []


def link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("odd", [Path.mkdir, os.mkfifo, link, Path.touch])
@pytest.mark.parametrize("name", ["00000001-000000000007.jsonl", "00000099-000000000000.jsonl"])
def test_a_decision_is_recorded_beside_what_is_named_like_a_segment_and_is_none(
    keeper: Keeper, tmp_path: Path, name: str, odd: Callable[[Path], None]
) -> None:
    step(keeper, 1)
    keeper.close()
    odd(keeper.journal.directory / name)
    operator = make_keeper(tmp_path)
    operator.claim()
    operator.decide(Seek(2, positions=[("t", 0, 0)]), {})
    assert [type(decision) for decision in operator.journal.decisions(0)] == [Step, Seek]


def test_what_was_recorded_before_a_decision_is_synced_before_it_is_written(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step(keeper, 1)
    keeper.close()
    operator = make_keeper(tmp_path)
    operator.claim()

    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(journal, "sync_file", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        operator.decide(Seek(2, positions=[("t", 0, 0)]), {})
    assert [decision.step for decision in operator.journal.decisions(0)] == [1]


@pytest.mark.parametrize("comes_back", [False, True], ids=["withdrawn", "comes back with a loss of power"])
def test_a_decision_that_is_written_and_cannot_be_synced_is_safely_given_again(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    step(keeper, 1)
    keeper.close()
    operator = make_keeper(tmp_path)
    operator.claim()
    written: dict[Path, bytes] = {}

    def refuse_the_last(path: Path) -> None:
        written[path] = path.read_bytes()
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as refused:
        refused.setattr(module, "sync_file", refuse_the_last)
        said = r"^step 2 may have been recorded or not, .*Input/output error.*; give the command again$"
        with pytest.raises(StateError, match=said):
            operator.decide(Seek(2, positions=[("t", 0, 0)]), {})
    ((path, content),) = written.items()
    assert b'"seek"' in content
    assert [type(decision) for decision in operator.journal.decisions(0)] == [Step]  # or it would seem to be done
    again = make_keeper(tmp_path)
    again.claim()
    if comes_back:
        path.write_bytes(content)
    again.decide(Seek(2, positions=[("t", 0, 0)], skipped=3), {})
    assert [getattr(decision, "skipped", None) for decision in again.journal.decisions(0)] == [None, 3]
