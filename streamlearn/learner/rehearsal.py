"""What fine-tuning needs beyond the steps of a stream: further passes, and the figures to judge them by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from streamlearn.errors import ConfigurationError
from streamlearn.events import Event, Label
from streamlearn.learner.classification import Classification
from streamlearn.learner.learner import Learner
from streamlearn.state import State
from streamlearn.updater.rehearsal import follow, rehearse
from streamlearn.updater.soundness import sound

MOST = 27.6  # nats: the cap on a loss, that of a probability of 1e-12; also the loss of an unknown label


@dataclass(frozen=True)
class Said:
    """The prediction for one event: the ``label``, or None, its probability, and the loss."""

    label: Label | None
    confidence: float
    loss: float


class Rehearsal:
    """Runs further passes over learnt events, and measures predictions.

    Parameters
    ----------
    learner
        A learner with the objective ``classification``.

    Raises
    ------
    ConfigurationError
        If it has another objective.

    """

    def __init__(self, learner: Learner) -> None:
        if not isinstance(learner.objective, Classification):
            raise ConfigurationError("updater.objective must be classification here")
        self._learner = learner
        self._updater = learner.objective.updater

    @property
    def gains(self) -> bool:
        """Whether any of the experts gains from a further pass."""
        return self._updater.transformer is not None

    def again(self, events: Sequence[Event]) -> int:
        """Take a step on `events`, which have been learnt before; return how many of them were learnt.

        It raises what :func:`~streamlearn.updater.rehearsal.rehearse` raises.
        """
        encoded, _ = self._updater.encode_each(events)
        taken = rehearse(self._updater, list(encoded.values()))
        self._learner.step += 1
        self._learner.proven = False
        return taken

    def pooling(self) -> State:
        """Return how the experts are pooled."""
        return self._updater.mixture.pooling()

    def judge(self, events: Sequence[Event], *, pooling: State | None = None) -> list[Said]:
        """Return the predictions for `events`; no expert learns from them, not even their labels.

        Parameters
        ----------
        events
            Events that are not learnt from.
        pooling
            The pooling after the first pass. If given, pooling starts from it again and adapts to the loss on `events`,
            one micro-batch at a time, each predicted first; in further passes this is the only measure of how much the
            transformer has gained on the other experts. With None the pooling stays fixed.

        """
        if pooling is not None:
            self._updater.mixture.load_pooling(pooling)
        size = self._updater.config.micro_batch
        found: list[Said] = []
        for first in range(0, len(events), size):
            found += self._said(events[first : first + size], follows=pooling is not None)
        return found

    def judge_transformer(self, events: Sequence[Event]) -> float | None:
        """Return how often the transformer alone is right about `events`; None without a transformer or events."""
        if not self.gains or not events:
            return None
        encoded, _ = self._updater.encode_each(events)
        labels = self._updater.predict_with_transformer(list(encoded.values()))
        right = sum(event.label == label for event, label in zip(encoded.values(), labels, strict=True))
        return right / len(events)

    def _said(self, events: Sequence[Event], *, follows: bool) -> list[Said]:
        updater, nothing = self._updater, Said(None, 0.0, MOST)
        encoded, _ = updater.encode_each(events)
        if not encoded:
            return [nothing] * len(events)
        known, labels = list(encoded.values()), list(updater.labels)
        predicted = follow(updater, known) if follows else updater.log_probabilities(known)
        predicted = predicted[:, : len(labels)]
        rows = dict(zip(encoded, zip(predicted.tolist(), sound(predicted), strict=True), strict=True))
        found = []
        for index, event in enumerate(events):
            row, good = rows.get(index, ([], False))
            if not good:
                found.append(nothing)
                continue
            best = max(range(len(row)), key=row.__getitem__)
            loss = -row[labels.index(event.label)] if event.label in labels else MOST
            found.append(Said(labels[best], math.exp(row[best]), min(loss, MOST)))
        return found
