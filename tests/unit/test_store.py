from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.errors import StateError
from streamlearn.state import State
from streamlearn.storage.store import point, replace_file, sweep, verify_directory, write_directory
from tests.unit.builders import make_event


def write(path: Path, content: str) -> None:
    write_directory(path, "manifest.json", {"kind": "test"}, lambda into: _fill(into, content))


def _fill(directory: Path, content: str) -> None:
    (directory / "inner").mkdir()
    (directory / "inner" / "file").write_text(content)


def test_a_directory_is_listed_with_its_digests_and_verifies(tmp_path: Path) -> None:
    write(tmp_path / "a", "content")
    manifest = verify_directory(tmp_path / "a", "manifest.json")
    assert manifest["kind"] == "test"
    assert list(manifest["files"]) == ["inner/file"]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_directory(tmp_path / "a", "manifest.json", {}, fail)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_take_its_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "latest" / "inner").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        point(tmp_path / "latest", tmp_path / "a")
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "latest", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_whoever_the_umask_allows_may_read_what_a_library_made_private(tmp_path: Path) -> None:
    def fill(directory: Path) -> None:
        (directory / "file").touch(mode=0o600)

    before = os.umask(0o027)
    try:
        write_directory(tmp_path / "a", "manifest.json", {}, fill)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").iterdir()} == {0o640}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


damages = pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])


@damages
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write(tmp_path / "a", "content")
    damage(tmp_path / "a" / "inner" / "file")
    with pytest.raises(StateError, match="inner/file"):
        verify_directory(tmp_path / "a", "manifest.json")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": 3}'])
def test_a_manifest_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path / "a", "content")
    (tmp_path / "a" / "manifest.json").write_text(content)
    with pytest.raises(StateError, match=r"manifest\.json is damaged"):
        verify_directory(tmp_path / "a", "manifest.json")


def test_a_link_moves_in_one_piece_and_leftovers_are_swept(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, name)
        point(tmp_path / "latest", tmp_path / name)
        assert (tmp_path / "latest").resolve() == (tmp_path / name).resolve()
    (tmp_path / ".tmp-torn").mkdir()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "latest"]


def state(number: int) -> State:
    encoded = [replace(make_event(n, label=n), tokens=np.arange(n, dtype=np.int32)) for n in range(1, 5)]
    return {
        "number": number,
        "tensor": torch.randn(3, 4),
        "inner": {"list": [torch.arange(3), {"deep": torch.zeros(())}], "none": None, "large": 2**70},
        "buffer": {"events": [*encoded, make_event(9)]},
        "empty": {"events": []},
    }


def assert_equal(one: State, other: State) -> None:
    assert one["number"] == other["number"]
    assert torch.equal(one["tensor"], other["tensor"])
    assert torch.equal(one["inner"]["list"][0], other["inner"]["list"][0])
    assert torch.equal(one["inner"]["list"][1]["deep"], other["inner"]["list"][1]["deep"])
    assert other["inner"]["large"] == 2**70
    assert other["empty"]["events"] == []
    for left, right in zip(one["buffer"]["events"], other["buffer"]["events"], strict=True):
        assert replace(left, tokens=None) == replace(right, tokens=None)
        assert type(left.label) is type(right.label)
        np.testing.assert_array_equal(left.tokens, right.tokens)


def test_a_checkpoint_gives_back_what_was_written(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    written = state(1)
    path = store.write(1, 0, written)
    assert_equal(written, store.read(path.name))


def open_object(path: Path) -> None:
    path.write_bytes(b"{")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink, open_object, make_directory])
def test_a_history_lies_beside_the_state_and_a_checkpoint_is_used_whatever_has_become_of_it(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    written = state(1)
    without, path = store.write(0, 0, state(0)), store.write(1, 0, written, b'{"loss": 0.5}')
    assert (store.history(path.name), store.history(without.name), store.history("")) == (b'{"loss": 0.5}', b"", b"")
    assert not caplog.records
    damage(path / "history.json")
    name, newest = next(store.newest())
    assert name == path.name
    assert_equal(written, newest)
    assert store.history(path.name) == b""
    (said,) = caplog.records
    assert f"the history in checkpoint {path.name} is passed over" in said.getMessage()
    assert store.write(1, 0, written) == path  # as it is
    assert not list(tmp_path.glob("*.damaged*"))


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (8, 9, 10, 11):
        store.write(step, step % 2, state(step))
    assert store.names() == ["000000000010-00000000", "000000000011-00000001"]


@damages
@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "events.json", "manifest.json"])
def test_the_newest_comes_as_its_damage_and_the_one_before_as_its_state(
    tmp_path: Path, damage: Callable[[Path], None], file: str
) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    for step in (1, 2):
        store.write(step, 0, state(step))
    damage(store.directory / store.names()[-1] / file)
    (_, first), (name, second) = store.newest()
    assert isinstance(first, StateError)
    assert file in str(first)
    assert isinstance(second, dict)
    assert (name, second["number"]) == ("000000000001-00000000", 1)
