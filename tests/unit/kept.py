"""A state directory as a learner without a model leaves it, and a start over what has become of it."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from streamlearn.checkpointing.keeper import Keeper
from streamlearn.checkpointing.seat import Seat
from streamlearn.config import Publisher as PublisherConfig
from streamlearn.config.publisher import Checkpoints
from streamlearn.decisions import Step
from streamlearn.errors import StateError
from streamlearn.publisher.publisher import Capture, Publisher
from streamlearn.records import Range
from streamlearn.state import Export, State
from streamlearn.storage.store import _seal
from tests.unit.builders import make_event

SOURCE = "group g of topic t"
PROVENANCE = {"created": 1.7e9, "events": {"trained": 4}, "metrics": {}, "config_digest": "0", "positions": {}}


class Quiet:
    """Progress that nobody looks at, but for what failed."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def checkpointed(self, outcome: str, seconds: float, why: str = "") -> None:
        del seconds, why
        self.outcomes.append(f"checkpoint {outcome}")

    def published(self, outcome: str, version: int, seconds: float, accuracy: object) -> None:
        del version, seconds, accuracy
        self.outcomes.append(f"snapshot {outcome}")

    def settled(self, kept: object) -> None:
        """Nobody has asked for it."""


class Saved:
    """What is exported of a model that is no model."""

    id2label: dict[int, str] = {0: "only"}  # noqa: RUF012 - nobody changes it

    def save_pretrained(self, directory: Path) -> None:
        (directory / "config.json").write_text("{}")


def state(step: int) -> State:
    return {"step": step, "tensor": torch.arange(4.0), "buffer": {"events": [make_event(step)]}}


def write(keeper: Keeper, publisher: Publisher, step: int, *, version: int, snapshot: bool = True) -> None:
    mixture = {"labels": ["only"], "counts": torch.ones(1)}
    export = Export(Saved(), {"w": torch.zeros(3)}, Saved(), columns=1, mixture=mixture) if snapshot else None
    keeper.journal.append(Step(step, [Range("t", 0, step, step + 1, 1)]))
    publisher.submit(Capture(step, state(step), {("t", 0): step + 1}, version, export, provenance=PROVENANCE))
    publisher.drain()


def open_state(directory: Path, *, source: str = SOURCE) -> tuple[Keeper, Publisher, Quiet]:
    progress = Quiet()
    config = PublisherConfig(directory=directory, checkpoints=Checkpoints(keep=3))  # as many at any hour
    keeper = Keeper(config, configuration={}, source=source)
    publisher = Publisher(
        config,
        keeper=keeper,
        change=keeper.fence.change,
        settle=lambda: True,
        commit=lambda _: True,
        progress=progress,
    )
    return keeper, publisher, progress


def leave_behind(directory: Path) -> None:
    """Make the state directory of a learner that was killed after three checkpoints and two snapshots."""
    keeper, publisher, progress = open_state(directory)
    seat = Seat(directory / "seats")
    seat.remember("member-1")
    publisher.start()
    keeper.claim()
    publisher.begin(0)
    keeper.record(0)
    for step, version in ((1, 1), (2, 2), (3, 2)):
        write(keeper, publisher, step, version=version, snapshot=step < 3)
    publisher.stop()
    keeper.close()
    seat._file.close()
    assert not [outcome for outcome in progress.outcomes if "failed" in outcome]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    def late(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def start(directory: Path) -> int:
    """Take over as a learner does, learn a step, write and publish it; return the step that it continued from."""
    keeper, publisher, progress = open_state(directory)
    keeper.check()
    seat = Seat(directory / "seats")
    publisher.start()
    try:
        keeper.claim()
        found, names = 0, keeper.checkpoints.names()
        for name, restored in keeper.checkpoints.newest():
            if isinstance(restored, StateError):
                assert name in str(restored)
                keeper.checkpoints.set_aside(name)
            else:
                found = restored["step"]
                break
        if names and not found:
            raise StateError(f"none of {names}")
        for decision in keeper.journal.decisions(found):
            assert decision.step > found
        publisher.begin(found)
        keeper.record(found)
        write(keeper, publisher, found + 1, version=publisher.version + 1)  # over the name of one that was refused
        assert "checkpoint written" in progress.outcomes[-2:]
    finally:
        publisher.stop()
        keeper.close()
        seat.leave()
    return found


def digest(directory: Path) -> dict[str, str]:
    """Return what each file below `directory` holds, and the mode of everything there."""
    return {
        str(path): f"{path.lstat().st_mode:o} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else "")
        for path in sorted(directory.rglob("*"))
    }


def sealed(path: Path, **changes: Any) -> None:
    """Give the manifest at `path` other entries, and the digest that goes with them."""
    manifest = json.loads(path.read_text())
    del manifest["manifest_sha256"]
    manifest |= changes
    path.write_text(json.dumps(manifest | {"manifest_sha256": _seal(manifest)}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
