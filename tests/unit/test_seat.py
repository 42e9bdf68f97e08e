from __future__ import annotations

import platform
from pathlib import Path

import pytest

from streamlearn.checkpointing.seat import Seat, sitting
from streamlearn.errors import StateError


def test_whoever_starts_where_one_was_killed_finds_its_ghost(tmp_path: Path) -> None:
    killed = Seat(tmp_path)
    assert killed.ghost is None
    killed.remember("member-1")
    killed.remember("member-2")
    killed._file.close()  # the kernel lets a lock go as it does here
    following = Seat(tmp_path)
    assert following.ghost == "member-2"
    following.leave()
    assert Seat(tmp_path).ghost is None


def test_processes_of_one_host_sit_beside_each_other(tmp_path: Path) -> None:
    seats = [Seat(tmp_path) for _ in range(3)]
    for number, seat in enumerate(seats):
        seat.remember(f"member-{number}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{platform.node()}-{number}" for number in range(3)]
    seats[1]._file.close()
    assert Seat(tmp_path).ghost == "member-1"


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="seats cannot be written"):
        Seat(tmp_path / "file" / "seats")


def test_who_looks_at_the_seats_sees_who_lives_and_who_was_killed_and_leaves_them_as_they_are(tmp_path: Path) -> None:
    assert sitting(tmp_path / "missing") == (False, [])
    first, second = Seat(tmp_path), Seat(tmp_path)
    (tmp_path / "no-0").mkdir()
    (tmp_path / "control.key").write_text("k" * 64)
    first.remember("member-1")
    second.remember("member-2")
    assert sitting(tmp_path) == (True, [])
    first._file.close()  # as when it is killed
    assert sitting(tmp_path) == (True, ["member-1"])
    second.leave()
    assert sitting(tmp_path) == sitting(tmp_path) == (False, ["member-1"])
    assert Seat(tmp_path).ghost == "member-1"
