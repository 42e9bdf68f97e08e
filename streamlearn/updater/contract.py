"""What a learner asks of an updater, whatever its objective is."""

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
        The step as of which that was published which it has begun with; None where it has begun with a model alone.

    """

    steps: int
    warm_from: int | None

    def encode(self, events: Sequence[Event]) -> list[Event]:
        """Return `events` with their token ids."""
        ...

    def encode_each(self, events: Sequence[Event]) -> tuple[dict[int, Event], dict[int, Reason]]:
        """Return `events` with their token ids by their index, and those on which the tokenizer raises."""
        ...

    def step(
        self, fresh: Sequence[Event], replayed: Sequence[Event] = (), *, proofs: Sequence[Event] = ()
    ) -> StepResult:
        """Predict the fresh events, then learn from them and the replayed ones in one step.

        Those on which no step can be taken are left out. Where it fails, `proofs`, which have been learnt, may show
        that it is for θ's sake.

        Raises
        ------
        DeviceError
            If the device has no memory for it, or has failed.

        """
        ...

    def predictable(self, events: Sequence[Event]) -> list[bool]:
        """Return of each encoded event whether θ has a sound prediction for it."""
        ...

    def keep_within(self, most: int) -> None:
        """Let what is kept so that it need not be computed again take at most so many bytes."""
        ...

    def encodes_as(self, state: State) -> bool:
        """Whether texts get the token ids that they got when `state` was made, as far as it says."""
        ...

    def state(self) -> State:
        """Return a copy of θ and of everything that decides how it moves."""
        ...

    def load(self, state: State) -> None:
        """Continue from `state`; StateError where it is of another model, or does not fit."""
        ...
