"""Which checkpoints stay: the newest ones, then one an hour and one a day."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlearn.checkpointing.checkpoints import CheckpointStore, step_of
from streamlearn.checkpointing.thinning import DAY, HOUR, staying
from streamlearn.config import Keep, load
from tests.unit.kept import state

DEFAULT = load().publisher.checkpoints.keep


def thinned(times: list[float], keep: Keep) -> list[float]:
    """Return the times of those that are left when each is thinned as it is made."""
    left: dict[str, float] = {}
    for number, time in enumerate(times):
        left[f"{number:06}"] = time
        names = staying(left, keep)
        left = {name: made for name, made in left.items() if name in names}
    return list(left.values())


def test_with_one_a_minute_the_default_reaches_back_over_all_of_yesterday() -> None:
    now = 20 * DAY + 15 * HOUR
    left = thinned([now - 60.0 * minute for minute in reversed(range(4 * 24 * 60))], DEFAULT)
    assert left[-3:] == [now - 120, now - 60, now]
    assert left[0] == 19 * DAY - 60  # from there on, yesterday can be run again
    assert [made // HOUR for made in left if made >= 20 * DAY] == [20 * 24 + hour for hour in (12, 13, 14, 14, 15)]
    assert len(left) <= DEFAULT.newest + DEFAULT.hourly + DEFAULT.daily


def test_hours_and_days_without_a_checkpoint_do_not_count() -> None:
    week = [10.0, 7 * DAY + 5.0, 7 * DAY + 6.0, 7 * DAY + 7.0]
    assert thinned(week, Keep(newest=2, hourly=0, daily=2)) == [10.0, 7 * DAY + 6.0, 7 * DAY + 7.0]


def test_a_clock_that_goes_back_takes_none_of_the_newest() -> None:
    assert thinned([9.0 * DAY, 1.0, 2.0, 3.0], Keep(newest=2, hourly=1, daily=1)) == [2.0, 3.0]


@pytest.mark.parametrize("keep", [2, 5])
def test_a_number_is_that_of_the_newest_as_it_was_before_there_were_hours(keep: int) -> None:
    given = load(overrides=[f"publisher.checkpoints.keep={keep}"]).publisher.checkpoints.keep
    assert thinned([DAY * float(day) for day in range(9)], given) == [DAY * float(day) for day in range(9 - keep, 9)]


def test_a_store_thins_by_when_its_checkpoints_were_made_also_where_they_have_been_copied(tmp_path: Path) -> None:
    times = iter([0.0, HOUR, HOUR + 60.0, 2.0 * HOUR, 2 * HOUR + 1.0])
    store = CheckpointStore(tmp_path, keep=Keep(newest=2, hourly=3, daily=0), clock=lambda: next(times))
    for step in range(1, 6):
        store.write(step, 0, state(step))
        for path in tmp_path.iterdir():
            path.touch()  # as a copy does: the time is in the manifest
    assert [step_of(name) for name in store.names()] == [1, 3, 4, 5]
    assert [store.made(name) for name in store.names()] == [0.0, HOUR + 60, 2 * HOUR, 2 * HOUR + 1]
    assert (store.oldest(), store.oldest(store.names()[0])) == (1, 1)


def test_one_that_does_not_say_when_it_was_made_counts_as_old_as_its_directory(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=Keep())
    path = store.write(1, 0, state(1))
    (path / "manifest.json").write_text("{}")
    assert store.made(path.name) == path.stat().st_mtime
