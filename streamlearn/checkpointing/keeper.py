"""The keeper: one learner's state directory, from the claim on it to the last checkpoint written into it.

It combines the fence, which says which learner holds the directory, the checkpoints, which hold the state, and the
journal, which holds the steps that no checkpoint contains yet. Everything that others read is changed under the fence:
once another learner has claimed the directory, this one can no longer write to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.checkpointing.fence import Fence
from streamlearn.checkpointing.inspection import refuse_odd_rooms
from streamlearn.checkpointing.journal import Journal
from streamlearn.config import Publisher as PublisherConfig
from streamlearn.decisions import Decision
from streamlearn.errors import FencedError, NotKeptError, StateError
from streamlearn.records import Topics
from streamlearn.state import State
from streamlearn.storage.store import discard, sweep, sync_file

log = logging.getLogger(__name__)


class Keeper:
    """Keeps the state of one learner.

    Parameters
    ----------
    config
        The directory, and how many checkpoints it keeps.
    configuration
        The settings that decide θ, for the journal.
    source
        The group and topic, for the fence.

    Attributes
    ----------
    fence, checkpoints, journal
        The parts of the directory.
    written
        The step of the last checkpoint, 0 before the first.

    """

    def __init__(self, config: PublisherConfig, *, configuration: dict[str, Any], source: str) -> None:
        self.fence = Fence(config.directory, source=source)
        self.checkpoints = CheckpointStore(
            config.directory / "checkpoints", keep=config.checkpoints.keep, change=self.fence.change
        )
        self.journal = Journal(config.directory / "journal", configuration=configuration)
        self.written = 0
        self._epoch = 0
        self._trouble = ""
        self._untrimmed = False

    def check(self) -> None:
        """Check that the directory can be used; the errors are those of :meth:`Fence.check`."""
        self.fence.check()
        refuse_odd_rooms(self.fence.directory)

    def claim(self, *, waiting: Callable[[], bool] = lambda: True) -> None:
        """Claim the directory, as :meth:`Fence.claim` does; must not be called while we write."""
        self.journal.end()
        self.fence.lost = False  # from here on disk errors are waited for
        self._epoch = self.fence.claim(self.journal.epoch(), waiting=waiting)
        directory = self.fence.directory
        with self.fence.change():
            for swept in (directory, self.checkpoints.directory, directory / "snapshots"):
                sweep(swept)

    def begin(self, step: int) -> None:
        """Continue from the checkpoint of `step`, 0 if there is none."""
        self.written = step

    def record(self, step: int) -> None:
        """Begin to record the steps after `step` in the journal; those since the checkpoint were re-run."""
        self.journal.begin(step, epoch=self._epoch, since=self.written)

    def decide(self, decision: Decision, topics: Topics) -> None:
        """Record `decision`, for the step after the last one recorded, so that it survives a power failure.

        Parameters
        ----------
        decision
            Made while no learner runs; the directory must be claimed by us.
        topics
            The ids of the topics that it concerns.

        Raises
        ------
        FencedError
            If another learner has claimed the directory since.
        StateError
            If it could not be recorded and the state is unchanged; or if the disk refuses after it was written. Then it
            is withdrawn, but may reappear after a power failure, unless the same is decided again: if two epochs
            recorded a step, the later one counts.
        OSError
            If the disk refuses before that: nothing is recorded.

        """
        before, journal = decision.step - 1, self.journal
        with self.fence.change():
            journal.sync()  # it would be void after a line that is lost
            self.begin(before)
            journal.topics = topics
            self.record(before)
            journal.append(decision)
            journal.close()
            path = journal.path(before)
            try:
                if [recorded.step for recorded in journal.decisions(before)] != [decision.step]:
                    raise StateError(f"{path} does not hold what was written to it; nothing has changed")
                sync_file(path)
            except OSError as error:
                discard(path)  # or a second attempt would find it done already, and not sync it
                raise StateError(
                    f"step {decision.step} may have been recorded or not, because {path} could not be synced "
                    f"({error.strerror}); give the command again"
                ) from None

    def rotate(self, step: int) -> None:
        """Continue the journal in a new segment after `step`, for which a checkpoint is about to be written."""
        self.journal.rotate(step)

    def write(self, step: int, version: int, state: State, history: bytes = b"") -> None:
        """Write the checkpoint of `step` with the page's history, and remove old parts of the journal.

        The errors are those of :meth:`CheckpointStore.write`, and FencedError.
        """
        path = self.checkpoints.write(step, version, state, history)
        self._trim(path.name)
        self.written, self._trouble = step, ""

    def missed(self, error: Exception) -> None:
        """Remember why the last checkpoint failed."""
        self._trouble = str(error)

    def unwritten(self, step: int) -> bool:
        """Whether anything learnt up to `step` is in no checkpoint."""
        return step > self.written

    def require_written(self, step: int) -> None:
        """Raise :class:`NotKeptError` if what was learnt up to `step` is in no checkpoint and the claim is ours."""
        if self.unwritten(step) and not self.fence.lost:
            newest = f"the checkpoint is of step {self.written}" if self.written else "there is no checkpoint"
            raise NotKeptError(
                f"stopped at step {step}; {newest}, because {self._trouble or 'it was not written'}: "
                "what was learnt since is learnt again at the next start"
            )

    def close(self) -> None:
        """Close the journal; its contents stay."""
        self.journal.close()

    def _trim(self, newest: str) -> None:
        """Remove what the journal holds from before the oldest checkpoint kept, up to the one called `newest`.

        If that fails, the journal is merely longer than necessary.
        """
        try:
            step = self.checkpoints.oldest(newest)
            with self.fence.change():
                self.journal.trim(step)
            self._untrimmed = False
        except FencedError:
            raise
        except (OSError, StateError) as error:
            if not self._untrimmed:
                log.warning("could not remove journal segments before the oldest checkpoint: %s", error)
            self._untrimmed = True
