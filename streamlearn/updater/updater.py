"""The updater: labelled events in, one step of θ out. How many experts it has is its own affair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.config import Config
from streamlearn.errors import StateError
from streamlearn.events import Event, Label
from streamlearn.state import Export, State
from streamlearn.updater.labels import LabelMap
from streamlearn.updater.transformer import TransformerExpert


@dataclass(frozen=True)
class StepResult:
    """What one step showed.

    ``correct`` and ``losses`` are of shape (fresh,) and belong to the fresh events as they were predicted
    before they were learnt; ``loss`` is the mean over fresh and replayed. ``applied`` is False where a loss or
    the gradient was not finite and θ stayed as it was.
    """

    correct: NDArray[np.bool_]
    losses: NDArray[np.float32]
    loss: float
    gradient_norm: float
    learning_rate: float
    applied: bool


class Updater:
    """Applies θ_t = θ_{t−1} − η∇(L + λR) to micro-batches of fresh and replayed events.

    Parameters
    ----------
    config
        The sections ``events`` (labels) and ``updater`` count.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded or does not fit the configuration.

    """

    def __init__(self, config: Config) -> None:
        self._model_name = config.updater.model
        closed = [] if config.events.labels == "discover" else config.events.labels
        self._expert = TransformerExpert(config.updater, [str(label) for label in closed])
        by_name: dict[str, Label] = {str(label): label for label in closed}
        self.labels = LabelMap(by_name.get(name, name) for name in self._expert.columns)

    @property
    def steps(self) -> int:
        """How many steps have been applied to θ."""
        return self._expert.optimizer.steps

    def encode(self, events: Sequence[Event]) -> list[Event]:
        """Return `events` with their token ids."""
        if not events:
            return []
        encoded = self._expert.encode([event.text for event in events])
        return [msgspec.structs.replace(event, tokens=ids) for event, ids in zip(events, encoded, strict=True)]

    def step(self, fresh: Sequence[Event], replayed: Sequence[Event] = ()) -> StepResult:
        """Predict the fresh events, then learn from them and the replayed ones in one step.

        One forward pass serves both. A fresh event whose label is met for the first time counts as predicted
        wrongly. All events must have been encoded.
        """
        rate = self._expert.optimizer.rate
        known = len(self.labels)
        for event in fresh:
            if event.label not in self.labels:
                self._expert.grow(str(event.label))
                self.labels.add(event.label)
        events = [*fresh, *replayed]
        targets = [self.labels.index(event.label) for event in events]
        learnt = self._expert.learn([_tokens(event) for event in events], targets)
        predicted = learnt.log_probabilities[: len(fresh), : max(1, known)].argmax(-1).numpy()
        columns = np.asarray(targets[: len(fresh)])
        return StepResult(
            correct=(predicted == columns) & (columns < known),
            losses=learnt.losses[: len(fresh)].numpy(),
            loss=float(learnt.losses.mean()),
            gradient_norm=learnt.gradient_norm,
            learning_rate=rate,
            applied=learnt.applied,
        )

    def predict(self, events: Sequence[Event]) -> list[Label]:
        """Return the most probable label of each encoded event."""
        names = list(self.labels)
        columns = self.log_probabilities(events)[:, : max(1, len(names))].argmax(-1)
        return [names[column] for column in columns.tolist()]

    def log_probabilities(self, events: Sequence[Event]) -> Tensor:
        """Return the log-probabilities of encoded events' labels, of shape (events, labels)."""
        return self._expert.predict([_tokens(event) for event in events])

    def export(self, state: State) -> Export:
        """Return what a snapshot of `state` publishes; its weights are those of `state`, not copied again."""
        return Export(self._expert.model_config(), state["transformer"]["weights"], self._expert.tokenizer)

    def state(self) -> State:
        """Return the labels and the state of every expert."""
        return {"model": self._model_name, "labels": list(self.labels), "transformer": self._expert.state()}

    def load(self, state: State) -> None:
        """Continue from `state`.

        Raises
        ------
        StateError
            If the state was made with another model or with labels in another order.

        """
        if state["model"] != self._model_name:
            raise StateError(
                f"the checkpoint was made with the model '{state['model']}' and the configuration names "
                f"'{self._model_name}'; give the new model a publisher.directory of its own"
            )
        if list(self.labels) != state["labels"][: len(self.labels)]:
            raise StateError(
                f"the checkpoint has the labels {state['labels']} and the configuration {list(self.labels)}; "
                "labels may be added at the end, not changed"
            )
        try:
            self._expert.load(state["transformer"])
        except (RuntimeError, KeyError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise StateError(f"the checkpoint does not fit the configured model: {first}") from None
        self.labels = LabelMap(state["labels"])


def _tokens(event: Event) -> NDArray[np.int32]:
    if event.tokens is None:
        raise ValueError(f"event {event.id} has not been encoded")
    return event.tokens
