"""The interface that a learner needs of an updater, whatever its objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamlearn.events import Event, Reason
from streamlearn.reports import StepResult
from streamlearn.state import State


class AnyUpdater(Protocol):
    """Applies θ_t = θ_{t−1} − η∇(L + λR) to micro-batches of fresh and replayed events.

    Attributes
    ----------
    steps
        How many steps have been applied to θ.
    warm_from
        The step of the published snapshot that it started from; None if it started from a plain model.

    """

    steps: int
    warm_from: int | None

    def encode(self, events: Sequence[Event]) -> list[Event]:
        """Return `events` with their token ids."""
        ...

    def encode_each(self, events: Sequence[Event]) -> tuple[dict[int, Event], dict[int, Reason]]:
        """Return `events` with their token ids, keyed by index, and the events on which the tokenizer raises."""
        ...

    def step(
        self, fresh: Sequence[Event], replayed: Sequence[Event] = (), *, proofs: Sequence[Event] = ()
    ) -> StepResult:
        """Predict the fresh events, then learn from them and the replayed ones in one step.

        Events on which no step can be taken are left out. If the step fails, `proofs`, events learnt before, show
        whether θ is the cause.

        Raises
        ------
        DeviceError
            If the device runs out of memory or fails.

        """
        ...

    def predictable(self, events: Sequence[Event]) -> list[bool]:
        """Return for each encoded event whether θ has a valid prediction for it."""
        ...

    def keep_within(self, most: int) -> None:
        """Limit the cache of computed results to `most` bytes."""
        ...

    def encodes_as(self, state: State) -> bool:
        """Whether texts still get the same token ids as when `state` was made, as far as it records that."""
        ...

    def state(self) -> State:
        """Return a copy of θ and of everything that decides how it is updated."""
        ...

    def load(self, state: State) -> None:
        """Continue from `state`; StateError if it is from another model, or does not fit."""
        ...
