"""The publisher: decides when state is captured, and writes it on its own thread while learning continues.

The order of one publication, each step after the one before has succeeded:

1. the learner's state is copied, on the learning thread (the only time it waits), and the journal continues in a new
   segment;
2. the dead letters sent so far are acknowledged by Kafka;
3. the checkpoint is written, fsynced and renamed, and the journal before the oldest one kept is removed; a θ that is
   not finite is not written, so that the checkpoints kept stay usable;
4. its positions are committed to the consumer group, which is advisory; if the group refuses them, we have lost our
   membership, and nothing is published;
5. if a snapshot is due and the gate lets it pass, it is written and ``latest`` is moved.

Everything that others read is changed under the fence: once another learner has claimed the directory, this one can no
longer write to it.

A version is counted in the checkpoint of step 3. Killed between 3 and 5, the learner finds on restart that
the version it counted is missing, and publishes it again from the same θ.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from streamlearn.config import Publisher as PublisherConfig
from streamlearn.control import PUBLISH, Kept
from streamlearn.errors import FencedError, NotFiniteError, StateError, StreamlearnError
from streamlearn.publisher.gate import rejection
from streamlearn.publisher.keeping import Keeping
from streamlearn.publisher.offers import Offers
from streamlearn.publisher.progress import Accuracy, Progress
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.publisher.triggers import Triggers
from streamlearn.records import Positions, by_name
from streamlearn.state import Export, State
from streamlearn.storage.states import tensors_of
from streamlearn.storage.store import Change
from streamlearn.unforeseen import unforeseen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Capture:
    """A copy of the learner at one step; ``export`` and the figures are set only if a snapshot is due.

    ``accuracy`` is the objective's figure by hold-out split: for a language model the bits per byte. ``unpredictable``
    is the share of the validation hold-out without a valid prediction. ``history`` is what the page shows of the past;
    it affects nothing.
    """

    step: int
    state: State
    positions: Positions
    version: int
    export: Export | None = None
    accuracy: Accuracy = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    unpredictable: float = 0.0
    history: bytes = b""


class Publisher:
    """Writes captures on its own thread, one at a time.

    Parameters
    ----------
    config
        The directory, the triggers, the gate and how many snapshots are kept.
    keeper
        Writes the checkpoints.
    change
        The context in which files that others read are changed.
    settle
        Blocks until the dead letters sent so far are acknowledged; returns False if it gave up.
    commit
        Commits positions to the consumer group; returns False if it refuses.
    progress
        Notified of every outcome.

    Attributes
    ----------
    version
        The newest published version, cached so that a capture needs no disk access.
    offers
        What the journal records of the captures that are to be published.
    failed
        The error that has ended the writing thread, or None.
    astray
        Why the state can no longer be written, naming what is not finite; empty otherwise.

    """

    def __init__(
        self,
        config: PublisherConfig,
        *,
        keeper: Keeping,
        change: Change,
        settle: Callable[[], bool],
        commit: Callable[[Positions], bool],
        progress: Progress,
    ) -> None:
        self.offers = Offers(lambda: self.version)
        self.snapshots = SnapshotStore(config.directory / "snapshots", keep=config.snapshots.keep, change=change)
        self._keeper = keeper
        self._checkpoint_due = Triggers(config.checkpoints.every_steps, config.checkpoints.every_seconds)
        self._snapshot_due = Triggers(config.snapshots.every_steps, config.snapshots.every_seconds)
        self._min_accuracy = config.snapshots.min_validation_accuracy
        self._max_bits = config.snapshots.max_validation_bits_per_byte
        self._settle, self._commit, self._progress = settle, commit, progress
        self._capture: Capture | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._offered = 0  # the step of the last candidate for a snapshot that was published or rejected
        self.version = 0
        self.failed: StreamlearnError | None = None
        self.astray = ""
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def begin(self, step: int) -> None:
        """Continue from the checkpoint of `step`: reset the triggers, and look up what is published."""
        self._keeper.begin(step)
        self._offered = step
        self._checkpoint_due.tried(step)
        self._snapshot_due.tried(step)
        try:
            self.version = self.snapshots.latest() or 0
        except OSError as error:  # no reason to stop learning
            log.warning("cannot read which snapshots are published: %s", error)
            self.version = 0
        self.offers = Offers(lambda: self.version)
        newest = self.snapshots.newest()
        if newest and newest["step"] == step:
            self.offers.made(step, newest["version"])

    def next_version(self, counted: int) -> int:
        """Return the version after all published ones and the last one `counted` by the learner."""
        return max(counted, self.version) + 1

    @property
    def busy(self) -> bool:
        """Whether a capture is still being written."""
        return self._capture is not None

    def due(
        self, step: int, *, presentable: bool = True, asked: Callable[[], Collection[str]] = tuple
    ) -> tuple[bool, bool]:
        """Return whether a checkpoint and a snapshot are due; a snapshot always comes with a checkpoint.

        While a capture is being written nothing is due: the trigger fires when the thread is free. So does that of a
        snapshot once the learner is `presentable`, and what an operator has `asked` for waits, too.
        """
        if self.busy:
            return False, False
        words = asked()
        snapshot = presentable and (PUBLISH in words or self._snapshot_due.due(step, done=self._offered))
        return bool(snapshot or words or self._checkpoint_due.due(step, done=self._keeper.written)), snapshot

    def unpublished(self, step: int) -> bool:
        """Whether anything learnt up to `step` was in no candidate for a snapshot."""
        return step > self._offered

    def submit(self, capture: Capture) -> None:
        """Pass `capture` to the writing thread, waiting for the previous one if it is still being written.

        Raises
        ------
        StreamlearnError
            The error that ended the writing thread, if any.

        """
        with self._changed:
            self._changed.wait_for(lambda: self._capture is None)
            if self.failed:
                raise self.failed
            if capture.export:
                self.offers.made(capture.step, capture.version)
            self._capture = capture
            self._changed.notify_all()
        self._keeper.rotate(capture.step)
        self._checkpoint_due.tried(capture.step)
        if capture.export:
            self._snapshot_due.tried(capture.step)

    def uncaptured(self, step: int, version: int | None, error: Exception) -> None:
        """Count the checkpoint of `step`, and the snapshot `version` if one was due, as failed: there is no copy."""
        self._keeper.missed(error)
        log.error("checkpoint of step %d failed, offsets stay uncommitted: %s", step, error)
        self._checkpoint_due.tried(step)
        self._progress.checkpointed("failed", 0.0, str(error))
        if version is not None:
            self._snapshot_due.tried(step)
            self._progress.published("failed", version, 0.0, {})
        self._progress.settled(Kept(step, str(error), version, str(error)))

    def drain(self) -> None:
        """Wait until everything submitted has been written or has failed; raise as :meth:`submit` does."""
        with self._changed:
            self._changed.wait_for(lambda: self._capture is None)
            if self.failed:
                raise self.failed

    def stop(self) -> None:
        """Write what was submitted, then end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._capture or self._stopping)
                capture = self._capture
            if capture is None:
                return
            version = capture.version if capture.export else None
            try:
                missing = self._write_checkpoint(capture)
                unpublished = missing or self._write_snapshot(capture, allowed=self._commit(capture.positions))
                self._progress.settled(Kept(capture.step, missing, version, unpublished))
            except FencedError as error:
                log.warning("nothing of step %d is kept or published: %s", capture.step, error, extra=_place(capture))
                self._progress.settled(Kept(capture.step, str(error), version, str(error)))
            except BaseException as error:  # noqa: BLE001 - handed to the learning thread, which raises it
                self.failed = unforeseen("publisher", error)
            with self._changed:
                self._capture = None
                self._changed.notify_all()
            if self.failed:
                return

    def _write_checkpoint(self, capture: Capture) -> str:
        """Write the checkpoint; return why that failed, or an empty string."""
        started = time.monotonic()
        try:
            if not self._settle():
                raise TimeoutError("dead letters are not acknowledged yet")
            self._keeper.write(capture.step, capture.version, capture.state, capture.history)
        except FencedError:
            raise
        except (OSError, StateError) as error:
            place = _place(capture)
            self._keeper.missed(error)
            log.error("checkpoint of step %d failed, offsets stay uncommitted: %s", capture.step, error, extra=place)
            self._progress.checkpointed("failed", time.monotonic() - started, str(error))
            if isinstance(error, NotFiniteError):
                self.astray = str(error)
            if capture.export:
                outcome = "rejected" if isinstance(error, NotFiniteError) else "failed"
                said = "is rejected" if outcome == "rejected" else "failed"
                log.warning("snapshot %d %s: %s", capture.version, said, error, extra=place)
                self._progress.published(outcome, capture.version, 0.0, capture.accuracy)
            return str(error)
        self._progress.checkpointed("written", time.monotonic() - started)
        return ""

    def _write_snapshot(self, capture: Capture, *, allowed: bool) -> str:
        """Publish the snapshot, if one is due; return why it was not published, or an empty string."""
        if capture.export is None:
            return ""
        started, version = time.monotonic(), capture.version
        if allowed:
            outcome, why = self._publish(capture, capture.export)
        else:
            outcome, why = "failed", "lost membership of the group"
            log.warning("snapshot %d is not published: %s", version, why, extra=_place(capture))
        if outcome != "failed":
            self._offered = capture.step
        self._progress.published(outcome, version, time.monotonic() - started, capture.accuracy)
        return why

    def _publish(self, capture: Capture, export: Export) -> tuple[str, str]:
        """Return whether it was ``published``, ``rejected`` or ``failed``, and why not."""
        version, figure = capture.version, capture.accuracy.get("validation")
        least, unpredictable = self._min_accuracy, capture.unpredictable
        reason = self.snapshots.misnamed(export) or rejection(
            {**export.weights, **tensors_of(export.mixture)},
            None if export.language_model else figure,
            min_validation_accuracy=least,
            unpredictable=unpredictable,
            bits_per_byte=figure if export.language_model else None,
            max_bits_per_byte=self._max_bits,
        )
        if reason:
            log.warning("snapshot %d is rejected: %s", version, reason, extra=_place(capture))
            return "rejected", f"the gate rejects it, since {reason}"
        try:
            path = self.snapshots.write(version, capture.step, export, capture.provenance)
        except FencedError:
            raise
        except (OSError, StateError) as error:
            log.error("snapshot %d failed: %s", version, error, extra=_place(capture))
            with suppress(OSError):
                self.version = max(self.version, self.snapshots.latest() or 0)
            return "failed", str(error)
        self.version = version
        log.info("published snapshot %d of step %d at %s", version, capture.step, path, extra=_place(capture))
        return "published", ""


def _place(capture: Capture) -> dict[str, Any]:
    """Return the step of `capture` for the log, because learning has continued since."""
    return {"step": capture.step, "version": capture.version, "positions": by_name(capture.positions)}
