"""Whatever lies in a file's place in the state directory: a start ends in an allowed way, soon, and stays inside."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.checkpointing.inspection import ROOMS, inspect
from streamlearn.errors import StateError
from tests.unit.kept import SOURCE, digest, flip, start, within

SEAT = f"seats/{platform.node()}-0"
SECONDS = 10.0


def grow(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**42)


def bind(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def outside(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.name == "state").parent / "outside"


ODDITIES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "flipped": flip,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "junk": lambda path: path.write_bytes(os.urandom(1000)),
    "link to a file outside": instead(lambda path: path.symlink_to(outside(path) / "file")),
    "link to a directory outside": instead(lambda path: path.symlink_to(outside(path))),
    "link to its own content": instead(lambda path: path.symlink_to(outside(path) / path.name)),
    "link to nothing": instead(lambda path: path.symlink_to(outside(path) / "missing")),
    "link to itself": instead(lambda path: path.symlink_to(path.name)),
    "hard link": instead(lambda path: path.hardlink_to(outside(path) / "file")),
    "directory": instead(Path.mkdir),
    "full directory": instead(lambda path: shutil.copytree(outside(path), path)),
    "fifo": instead(os.mkfifo),
    "socket": instead(bind),
    "device": instead(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))),  # /dev/zero: no end
    "huge": grow,
    "deep JSON": lambda path: path.write_bytes(b"[" * 100_000 + b"]" * 100_000),
    "deep objects": lambda path: path.write_bytes(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a list": lambda path: path.write_bytes(b"[]"),
    "a number of 5,000 digits": lambda path: path.write_bytes(b"9" * 5000),
    "null": lambda path: path.write_bytes(b"null"),
    "a header of safetensors without end": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
}
FILES = [
    "fence.json",
    "lock",
    SEAT,
    *(f"checkpoints/*3-*2/{name}" for name in ("manifest.json", "state.json", "events.json", "tensors.safetensors")),
    "journal/00000001-000000000001.jsonl",
    "journal/00000001-000000000003.jsonl",
    *(
        f"snapshots/v00000002/{name}"
        for name in ("streamlearn.json", "model.safetensors", "experts.safetensors", "config.json")
    ),
    "snapshots/latest",
]


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("file", FILES)
def test_a_start_over_an_odd_file_ends_in_an_allowed_way_soon_and_changes_nothing_outside(
    directory: Path, file: str, oddity: str
) -> None:
    (path,) = directory.glob(file)
    if path.is_symlink():
        path.unlink()
        path.write_bytes(b"v00000001")
    other = outside(path)
    other.mkdir()
    (other / "file").write_bytes(b"precious")
    if path.is_file():
        shutil.copy(path, other / path.name)
    before = digest(other)
    ODDITIES[oddity](path)
    with within(SECONDS):
        try:
            assert start(directory) in (1, 2, 3)
            assert start(directory) >= 3  # what was refused is out of the way
        except StateError as error:
            if file not in ("fence.json", "lock") or path.name not in str(error):
                raise  # without these two nobody knows whose the directory is
    assert digest(other) == before


@pytest.mark.parametrize("kind", ["link to a directory outside", "link to nothing", "link to itself", "fifo", "socket"])
@pytest.mark.parametrize("room", ROOMS)
def test_what_stands_in_the_place_of_a_room_is_named(directory: Path, room: str, kind: str) -> None:
    path, other = directory / room, directory.parent / "outside"
    shutil.move(path, other)
    path.touch()
    ODDITIES[kind](path)
    before = digest(other)
    with within(SECONDS):
        for attempt in (lambda: inspect(directory, source=SOURCE), lambda: start(directory)):
            with pytest.raises(StateError, match=f"{room} is a .* where a directory is expected"):
                attempt()
    assert digest(other) == before
