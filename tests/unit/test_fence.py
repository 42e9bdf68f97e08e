from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from pathlib import Path

import pytest

from streamlearn.checkpointing.fence import Fence
from streamlearn.errors import FencedError, StateError

SOURCE = "group g of topic t"


def test_the_last_to_claim_may_change_the_directory_and_nobody_else(tmp_path: Path) -> None:
    first, second = (Fence(tmp_path / "state", source=SOURCE) for _ in range(2))
    with pytest.raises(FencedError), first.change():
        pass
    assert first.claim(0) == 1
    with first.change():
        pass
    assert (first.held, second.held) == (True, False)
    assert second.claim(0) == 2
    assert (first.held, second.held) == (False, True)
    with pytest.raises(FencedError, match=r"another learner .* has claimed"), first.change():
        pass
    assert first.claim(0) == 3
    with first.change():
        pass


def test_a_host_whose_name_is_not_utf_8_can_claim_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: os.fsdecode(b"caf\xe9"))
    assert Fence(tmp_path, source=SOURCE).claim(0) == 1
    assert r"caf\udce9/" in json.loads((tmp_path / "fence.json").read_bytes())["owner"]


def test_an_epoch_is_above_whatever_else_is_recorded(tmp_path: Path) -> None:
    assert Fence(tmp_path, source=SOURCE).claim(7) == 8


def test_a_claim_waits_for_a_change_and_can_be_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    changing, claiming = (Fence(tmp_path, source=SOURCE) for _ in range(2))
    changing.claim(0)
    patience = iter([True, True, False])
    with changing.change(), pytest.raises(TimeoutError):
        claiming.claim(0, waiting=lambda: next(patience))
    assert len([m for m in caplog.messages if "waiting: another learner is changing" in m]) == 1
    assert changing.held
    assert claiming.claim(0) == 2


def test_a_change_does_not_wait_for_ever_for_one_that_was_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlearn.checkpointing.fence.CHANGE_SECONDS", 0.2)
    fence = Fence(tmp_path, source=SOURCE)
    fence.claim(0)
    with (tmp_path / "lock").open() as frozen:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match=r"another learner keeps .* locked"), fence.change():
            pass
    with fence.change():
        pass


def test_the_claim_is_let_go_with_the_lock_file_closed(tmp_path: Path) -> None:
    fence = Fence(tmp_path, source=SOURCE)
    fence.claim(0)
    with fence.change():
        pass
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_that_had_vanished_is_still_ours(tmp_path: Path) -> None:
    fence = Fence(tmp_path / "state", source=SOURCE)
    fence.claim(0)
    shutil.rmtree(tmp_path / "state")
    assert fence.held
    with fence.change():
        pass
    other = Fence(tmp_path / "state", source=SOURCE)
    assert other.claim(0) == 2
    assert not fence.held


def test_the_state_of_another_group_is_refused_and_a_damaged_claim_is_named(tmp_path: Path) -> None:
    Fence(tmp_path, source=SOURCE).claim(0)
    with pytest.raises(StateError, match="holds the state of group g of topic t, and this learner is of group h"):
        Fence(tmp_path, source="group h").check()
    (tmp_path / "fence.json").write_text("{")
    with pytest.raises(StateError, match=r"fence\.json is damaged"):
        Fence(tmp_path, source=SOURCE).check()
