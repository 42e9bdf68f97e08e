"""The publisher: when state is captured, and the thread that writes it while learning goes on.

The order of one publication, each step after the one before has succeeded:

1. the learner's state is copied, on the learning thread (the only time it waits), and the journal goes on in
   a new segment;
2. the dead letters sent so far are acknowledged by Kafka;
3. the checkpoint is written, fsynced and renamed, and the journal behind the oldest one kept is removed;
   θ that is not finite is no checkpoint, so that those kept are of use;
4. its positions are committed to the consumer group, which is advisory; a group that refuses them has let us
   go, and nothing is published;
5. if a snapshot is due and the gate lets it pass, it is written and ``latest`` is moved.

Whatever others read is changed behind the fence: once another learner has claimed the directory, nothing of ours
gets there any more.

A version is counted in the checkpoint of step 3. Killed between 3 and 5, the learner finds on restart that
the version it counted is missing, and publishes it again from the same θ.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.checkpointing.fence import Fence
from streamlearn.checkpointing.inspection import refuse_odd_rooms
from streamlearn.checkpointing.journal import Journal
from streamlearn.config import Publisher as PublisherConfig
from streamlearn.errors import FencedError, NotFiniteError, NotKeptError, StateError, StreamlearnError
from streamlearn.publisher.gate import rejection
from streamlearn.publisher.progress import Accuracy, Progress
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.publisher.triggers import Triggers
from streamlearn.records import Positions, by_name
from streamlearn.state import Export, State
from streamlearn.storage.store import sweep
from streamlearn.unforeseen import unforeseen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Capture:
    """A copy of the learner at one step; what follows ``version`` only where a snapshot is due.

    ``unpredictable`` is the share of the validation hold-out that it has no sound prediction for.
    """

    step: int
    state: State
    positions: Positions
    version: int
    export: Export | None = None
    accuracy: Accuracy = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    unpredictable: float = 0.0


class Publisher:
    """Writes captures on its own thread, one at a time.

    Parameters
    ----------
    config
        The directory, the triggers and the retention.
    configuration
        The settings that decide θ, for the journal.
    source
        What is learnt from, for the fence.
    settle
        Blocks until the dead letters sent so far are acknowledged; returns False where it gave up.
    commit
        Has positions committed to the consumer group; returns False where it refuses.
    progress
        Told of every outcome.

    Attributes
    ----------
    fenced
        Whether another learner has been found to have claimed the directory since ours did.
    version
        The newest version that is published, kept in memory so that a capture asks no disk.
    failed
        What has ended the writing thread, None while nothing has.
    trouble
        Why the last checkpoint was not written; empty where it was.
    astray
        What of a state was not finite, which so was no checkpoint, nor will any later one be; empty where nothing was.

    """

    def __init__(
        self,
        config: PublisherConfig,
        *,
        configuration: dict[str, Any],
        source: str,
        settle: Callable[[], bool],
        commit: Callable[[Positions], bool],
        progress: Progress,
    ) -> None:
        self.fence = Fence(config.directory, source=source)
        change = self.fence.change
        self.checkpoints = CheckpointStore(
            config.directory / "checkpoints", keep=config.checkpoints.keep, change=change
        )
        self.snapshots = SnapshotStore(config.directory / "snapshots", keep=config.snapshots.keep, change=change)
        self.journal = Journal(config.directory / "journal", configuration=configuration)
        self._checkpoint_due = Triggers(config.checkpoints.every_steps, config.checkpoints.every_seconds)
        self._snapshot_due = Triggers(config.snapshots.every_steps, config.snapshots.every_seconds)
        self._min_accuracy = config.snapshots.min_validation_accuracy
        self._settle, self._commit, self._progress = settle, commit, progress
        self._capture: Capture | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._epoch = 0
        self.fenced = False
        self.version = 0
        self._untrimmed = False
        self.failed: StreamlearnError | None = None
        self.trouble = ""
        self.astray = ""
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def check(self) -> None:
        """Find out whether the directory can be used; the errors are those of :meth:`Fence.check`."""
        self.fence.check()
        refuse_odd_rooms(self.fence.directory)

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def claim(self, *, waiting: Callable[[], bool] = lambda: True) -> None:
        """Make the directory ours, as :meth:`Fence.claim` does, once nothing is being written any more."""
        self.drain()
        self.journal.end()
        self.fenced = False
        self._epoch = self.fence.claim(self.journal.epoch(), waiting=waiting)
        with self.fence.change():
            for directory in (self.fence.directory, self.checkpoints.directory, self.snapshots.directory):
                sweep(directory)
        try:
            self.version = self.snapshots.latest() or 0
        except OSError as error:  # no reason not to learn
            log.warning("what is published cannot be looked at: %s", error)
            self.version = 0

    def begin(self, step: int) -> None:
        """Count from `step` on what is due."""
        self._checkpoint_due.reset(step)
        self._snapshot_due.reset(step)

    def record(self, step: int) -> None:
        """Begin to record the steps after `step` in the journal; those since the checkpoint were taken again."""
        self.journal.begin(step, epoch=self._epoch, since=self.written)

    @property
    def busy(self) -> bool:
        """Whether a capture is still being written."""
        return self._capture is not None

    def due(self, step: int, *, presentable: bool = True) -> tuple[bool, bool]:
        """Return whether a checkpoint and a snapshot are due; a snapshot always comes with a checkpoint.

        While a capture is being written nothing is due: the trigger stays and fires when the thread is free. So does
        that of a snapshot while there is nothing `presentable` in it.
        """
        if self.busy:
            return False, False
        snapshot = presentable and self._snapshot_due.due(step)
        return snapshot or self._checkpoint_due.due(step), snapshot

    @property
    def written(self) -> int:
        """The step of the last checkpoint."""
        return self._checkpoint_due.since

    def unwritten(self, step: int) -> bool:
        """Whether anything has been learnt at `step` that no checkpoint contains."""
        return step > self._checkpoint_due.since

    def require_kept(self, step: int) -> None:
        """Raise :class:`NotKeptError` where what was learnt up to `step` is in no checkpoint, and is for us to keep."""
        if self.unwritten(step) and not self.fenced:
            newest = f"the checkpoint is of step {self.written}" if self.written else "there is no checkpoint"
            raise NotKeptError(
                f"stopped at step {step}; {newest}, because {self.trouble or 'it was not written'}: "
                "what was learnt since is learnt again at the next start"
            )

    def unpublished(self, step: int) -> bool:
        """Whether anything has been learnt at `step` that no candidate for a snapshot contained."""
        return step > self._snapshot_due.since

    def submit(self, capture: Capture) -> None:
        """Hand `capture` to the writing thread, waiting for the one before where it is still being written.

        Raises
        ------
        StreamlearnError
            What ended the writing thread, if something did.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._capture is None)
            if self.failed:
                raise self.failed
            self._capture = capture
            self._changed.notify_all()
        self.journal.rotate(capture.step)
        self._checkpoint_due.tried(capture.step)
        if capture.export:
            self._snapshot_due.tried(capture.step)

    def uncaptured(self, step: int, version: int, error: Exception, *, snapshot: bool) -> None:
        """Count the checkpoint of `step`, and a `snapshot` where one was due, as failed: no copy could be made."""
        self.trouble = str(error)
        log.error("checkpoint of step %d failed, offsets stay uncommitted: %s", step, error)
        self._checkpoint_due.tried(step)
        self._progress.checkpointed("failed", 0.0)
        if snapshot:
            self._snapshot_due.tried(step)
            self._progress.published("failed", version, 0.0, {})

    def drain(self) -> None:
        """Wait until everything submitted has been written or has failed; raise as :meth:`submit` does."""
        with self._changed:
            self._changed.wait_for(lambda: self._capture is None)
            if self.failed:
                raise self.failed

    def stop(self) -> None:
        """Write what was submitted, then end the thread and the journal."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self.journal.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._capture or self._stopping)
                capture = self._capture
            if capture is None:
                return
            try:
                if self._write_checkpoint(capture):
                    self._write_snapshot(capture, allowed=self._commit(capture.positions))
            except FencedError as error:
                self.fenced = True
                log.warning("nothing of step %d is kept or published: %s", capture.step, error, extra=_place(capture))
            except BaseException as error:  # noqa: BLE001 - handed to the learning thread, which raises it
                self.failed = unforeseen("publisher", error)
            with self._changed:
                self._capture = None
                self._changed.notify_all()
            if self.failed:
                return

    def _write_checkpoint(self, capture: Capture) -> bool:
        started = time.monotonic()
        try:
            if not self._settle():
                raise TimeoutError("dead letters are not acknowledged yet")
            path = self.checkpoints.write(capture.step, capture.version, capture.state)
        except FencedError:
            raise
        except (OSError, StateError) as error:
            place = _place(capture)
            self.trouble = str(error)
            log.error("checkpoint of step %d failed, offsets stay uncommitted: %s", capture.step, error, extra=place)
            self._progress.checkpointed("failed", time.monotonic() - started)
            if isinstance(error, NotFiniteError):
                self.astray = str(error)
            if capture.export:
                outcome = "rejected" if isinstance(error, NotFiniteError) else "failed"
                said = "is rejected" if outcome == "rejected" else "failed"
                log.warning("snapshot %d %s: %s", capture.version, said, error, extra=place)
                self._progress.published(outcome, capture.version, 0.0, capture.accuracy)
            return False
        self._trim(self.checkpoints.oldest(path.name))
        self._checkpoint_due.since = capture.step
        self.trouble = ""
        self._progress.checkpointed("written", time.monotonic() - started)
        return True

    def _trim(self, step: int) -> None:
        """Let the journal behind the checkpoint of `step` go; where that fails, it is longer than it need be."""
        try:
            with self.fence.change():
                self.journal.trim(step)
            self._untrimmed = False
        except FencedError:
            raise
        except (OSError, StateError) as error:
            if not self._untrimmed:
                log.warning("the journal behind step %d stays: %s", step, error)
            self._untrimmed = True

    def _write_snapshot(self, capture: Capture, *, allowed: bool) -> None:
        if capture.export is None:
            return
        started, version = time.monotonic(), capture.version
        if allowed:
            outcome = self._publish(capture, capture.export)
        else:
            outcome = "failed"
            log.warning("snapshot %d is not published: the group has let us go", version, extra=_place(capture))
        if outcome != "failed":
            self._snapshot_due.since = capture.step
        self._progress.published(outcome, version, time.monotonic() - started, capture.accuracy)

    def _publish(self, capture: Capture, export: Export) -> str:
        version, accuracy = capture.version, capture.accuracy.get("validation")
        least, unpredictable = self._min_accuracy, capture.unpredictable
        reason = self.snapshots.misnamed(export) or rejection(
            export.weights, accuracy, min_validation_accuracy=least, unpredictable=unpredictable
        )
        if reason:
            log.warning("snapshot %d is rejected: %s", version, reason, extra=_place(capture))
            return "rejected"
        try:
            path = self.snapshots.write(version, capture.step, export, capture.provenance)
        except FencedError:
            raise
        except (OSError, StateError) as error:
            log.error("snapshot %d failed: %s", version, error, extra=_place(capture))
            with suppress(OSError):
                self.version = max(self.version, self.snapshots.latest() or 0)
            return "failed"
        self.version = version
        log.info("published snapshot %d of step %d at %s", version, capture.step, path, extra=_place(capture))
        return "published"


def _place(capture: Capture) -> dict[str, Any]:
    """Return where `capture` was made, for the log: learning has gone on since."""
    return {"step": capture.step, "version": capture.version, "positions": by_name(capture.positions)}
