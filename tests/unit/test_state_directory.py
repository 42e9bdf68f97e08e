"""What a state directory may hold besides what was written, and who may read it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streamlearn.checkpointing.inspection import inspect
from streamlearn.errors import StateError
from tests.unit.kept import SOURCE, digest, flip, open_state, sealed, start, within, write

SECONDS = 10.0


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../../../outside/file": hashlib.sha256(b"precious").hexdigest()}},
        {"files": {"/etc/hostname": "0" * 64}},
        {"files": {"state.json/../state.json": "0" * 64}},
        {"files": {".": "0" * 64}},
        {"files": {"": "0" * 64}},
        {"files": {"state.json\0": "0" * 64}},
        {"files": {"\ud800": "0" * 64}},
        {"files": {"inner": "0" * 64}},
        {"files": {"link": hashlib.sha256(b"precious").hexdigest()}},
        {"files": {"not-there": "0" * 64}},
        {"files": {}},
        {"files": []},
        {"files": None},
        {"files": {"state.json": 3}},
        {"sizes": {"state.json": "many"}},
        {"sizes": []},
        {"step": 4},
        {"step": "3"},
        {"format": 2},
        {"format": [[]]},
    ],
)
def test_a_manifest_that_says_what_no_writer_says_is_damaged(directory: Path, changes: dict[str, Any]) -> None:
    (newest,) = directory.glob("checkpoints/*3-*2")
    other = directory.parent / "outside"
    other.mkdir()
    (other / "file").write_bytes(b"precious")
    (newest / "inner").mkdir()
    (newest / "link").symlink_to(other / "file")
    sealed(newest / "manifest.json", **changes)
    assert start(directory) == 2
    assert (directory / "checkpoints" / f"{newest.name}.damaged").is_dir()
    assert (other / "file").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["state.json", "events.json", "tensors.safetensors"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b'{"$tensor": 3}', b"\xff" * 20, b"9" * 5000, b"null"])
def test_a_checkpoint_whose_digests_fit_what_is_no_state_is_refused_too(
    directory: Path, name: str, content: bytes
) -> None:
    (newest,) = directory.glob("checkpoints/*3-*2")
    (newest / name).write_bytes(content)
    manifest = json.loads((newest / "manifest.json").read_text())
    files = manifest["files"] | {name: hashlib.sha256(content).hexdigest()}
    sealed(newest / "manifest.json", files=files, sizes=manifest["sizes"] | {name: len(content)})
    assert start(directory) == 2


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/999999999999-99999999",
        "checkpoints/9999999999999-00000000",
        "checkpoints/000000000000-00000000",
        "checkpoints/٠٠٠٠٠٠٠٠٠٠٠٩-00000000",
        "checkpoints/000000000003-00000002.damaged",
        "journal/99999999-000000000000.jsonl",
        "journal/00000000-999999999999.jsonl",
        "journal/999999999-000000000000.jsonl",
        "snapshots/v99999999",
        "snapshots/v999999999",
        "snapshots/v00000003",
        f"seats/{platform.node()}-1",
    ],
)
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_what_lies_beside_the_files_costs_none_of_them(
    directory: Path, name: str, make: Callable[[Path], object]
) -> None:
    make(directory / name)
    with within(SECONDS):
        assert start(directory) == 3
        assert start(directory) == 4
    keeper, publisher, _ = open_state(directory)
    assert {step for step in (4, 5) if any(f"{step:012d}-" in n for n in keeper.checkpoints.names())} == {4, 5}
    for version in (publisher.snapshots.latest() or 0, 2):
        publisher.snapshots.verify(version)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 7},
        {"version": "2"},
        {"created": "today"},
        {"events": [3]},
        {"metrics": {"holdout_accuracy": []}},
        {"metrics": 3},
        {"config_digest": None},
    ],
)
def test_a_manifest_of_a_snapshot_is_used_only_with_the_types_that_its_readers_rely_on(
    directory: Path, changes: dict[str, Any]
) -> None:
    _, publisher, _ = open_state(directory)
    assert publisher.snapshots.manifest(2)["metrics"]["prequential_accuracy"] is None
    sealed(publisher.snapshots.path(2) / "streamlearn.json", **changes)
    with pytest.raises(StateError, match="v00000002"):
        publisher.snapshots.manifest(2)
    assert start(directory) == 3


def test_a_file_that_was_added_to_a_snapshot_is_named(directory: Path) -> None:
    _, publisher, _ = open_state(directory)
    (publisher.snapshots.path(2) / "modeling_evil.py").touch()
    with pytest.raises(StateError, match=r"modeling_evil\.py is not what was written: the manifest does not list it"):
        publisher.snapshots.verify(2)


def test_a_number_that_no_name_holds_is_said_and_not_written(directory: Path) -> None:
    keeper, publisher, progress = open_state(directory)
    publisher.start()
    keeper.claim()
    for step, version in ((10**12, 3), (4, 10**8)):
        publisher.begin(3)
        write(keeper, publisher, step, version=version)
        assert progress.outcomes[-2:] == ["checkpoint failed", "snapshot failed"]
    write(keeper, publisher, 4, version=3)
    assert progress.outcomes[-2:] == ["checkpoint written", "snapshot published"]
    publisher.stop()
    keeper.close()
    claim = json.loads((directory / "fence.json").read_text())
    for epoch in (99_999_999, 10**8, 10**30, -1):
        (directory / "fence.json").write_text(json.dumps(claim | {"epoch": epoch}))
        with pytest.raises(StateError, match=r"fence\.json"):
            start(directory)


def test_what_holds_texts_is_for_its_owner_alone_and_what_is_published_for_whoever_the_umask_allows(
    directory: Path,
) -> None:
    for path in [directory, *directory.rglob("*")]:  # as an earlier version left it
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    before = os.umask(0o022)
    try:
        start(directory)
    finally:
        os.umask(before)
    modes = {
        room: stat.S_IMODE((directory / room).stat().st_mode) for room in (".", "snapshots", "checkpoints", "journal")
    }
    assert modes == {".": 0o755, "snapshots": 0o755, "checkpoints": 0o700, "journal": 0o700}
    keeper, publisher, _ = open_state(directory)
    newest = directory / "checkpoints" / keeper.checkpoints.names()[-1]
    assert {stat.S_IMODE(path.stat().st_mode) for path in newest.iterdir()} == {0o600}
    assert stat.S_IMODE(newest.stat().st_mode) == 0o700
    assert {stat.S_IMODE(segment.path.stat().st_mode) for segment in keeper.journal.segments()[-1:]} == {0o600}
    snapshot = publisher.snapshots.path(publisher.snapshots.latest() or 0)
    assert {stat.S_IMODE(path.stat().st_mode) for path in snapshot.iterdir()} == {0o644}


def test_a_state_of_another_group_is_told_and_stays_as_it_is(directory: Path) -> None:
    before = digest(directory), sorted(path.lstat().st_mtime_ns for path in directory.rglob("*"))
    with pytest.raises(StateError, match="holds the state of group g of topic t, and this learner is of group h"):
        inspect(directory, source="group h of topic t")
    keeper, _, _ = open_state(directory)
    keeper.fence._source = "group h of topic t"
    (directory / "lock").unlink()
    with pytest.raises(StateError, match=r"give each group a publisher\.directory of its own"):
        keeper.check()
    assert not (directory / "lock").exists()
    (directory / "lock").touch(mode=0o600)
    assert (digest(directory), before[1][0]) == (before[0], before[1][0])


def test_an_inspection_says_what_a_start_would_find(directory: Path, tmp_path: Path) -> None:
    assert inspect(tmp_path / "nothing", source=SOURCE) == "it holds no checkpoint yet"
    assert inspect(directory, source=SOURCE) == "its newest whole checkpoint is of step 3"
    flip(directory / "checkpoints" / "000000000003-00000002" / "state.json")
    assert "of step 2; of newer ones, " in inspect(directory, source=SOURCE)
    for name in ("000000000001-00000001", "000000000002-00000002"):
        (directory / "checkpoints" / name / "manifest.json").unlink()
    with pytest.raises(StateError, match=r"none of the checkpoints in .* can be used: .*state\.json"):
        inspect(directory, source=SOURCE)


@contextmanager
def undeletable(path: Path) -> Iterator[None]:
    """Make a directory at `path` that even root cannot remove: something is mounted there."""
    path.mkdir(exist_ok=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/000000000001-00000001",
        "checkpoints/000000000000-00000000",
        "checkpoints/.tmp-000000000009-00000000-cafe",
        "snapshots/v00000001",
        "snapshots/.tmp-v00000009-cafe",
        ".tmp-fence.json-cafe",
        "journal/00000000-000000000000.jsonl",
    ],
)
def test_what_cannot_be_removed_is_said_once_and_holds_nothing_up(
    directory: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    stays = directory / name
    with undeletable(stays):
        for step in range(3, 11):
            assert start(directory) == step
        keeper, publisher, _ = open_state(directory)
        kept = [path for path in (directory / "checkpoints").glob("[0-9]*") if path != stays]
        assert len(kept) == 3
        assert len([version for version in publisher.snapshots.versions() if version > 1]) == 5
        assert keeper.journal.segments()[-1].step - keeper.journal.segments()[1].step < 4
    assert caplog.text.count(f"{stays} could not be removed: ") == 1


def test_a_checkpoint_that_can_neither_be_used_nor_set_aside_is_refused_and_the_one_before_is_used(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (newest,) = directory.glob("checkpoints/*3-*2")
    with undeletable(newest):
        assert start(directory) == 2
        assert start(directory) == 3  # written under another version
    assert f"checkpoint {newest.name} could not be moved aside and stays where it is: " in caplog.text


def test_a_damaged_checkpoint_is_set_aside_though_an_earlier_one_of_its_name_cannot_be_removed(directory: Path) -> None:
    (newest,) = directory.glob("checkpoints/*3-*2")
    flip(newest / "state.json")
    with undeletable(newest.with_name(f"{newest.name}.damaged")):
        assert start(directory) == 2
        assert len(list(newest.parent.glob(f"{newest.name}.damaged-*"))) == 1
