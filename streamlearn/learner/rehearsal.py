"""What fine-tuning does with a learner beyond the steps of a stream: further passes, and what they are judged by."""

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

MOST = 27.6  # nats: the most that a loss counts, as of a label of which the probability is 1e-12, or that is not known


@dataclass(frozen=True)
class Said:
    """What was predicted of one event: the ``label``, None where there was none, its probability, and the loss."""

    label: Label | None
    confidence: float
    loss: float


class Rehearsal:
    """Passes over events that a learner has learnt, and judgements of what it predicts.

    Parameters
    ----------
    learner
        It has the objective ``classification``.

    Raises
    ------
    ConfigurationError
        If it has another one.

    """

    def __init__(self, learner: Learner) -> None:
        if not isinstance(learner.objective, Classification):
            raise ConfigurationError("updater.objective must be classification here")
        self._learner = learner
        self._updater = learner.objective.updater

    @property
    def gains(self) -> bool:
        """Whether an expert is among them that gains from a further pass."""
        return self._updater.transformer is not None

    def again(self, events: Sequence[Event]) -> int:
        """Take a step on `events`, which have been learnt before; return on how many it could be taken.

        The error is that of :func:`~streamlearn.updater.rehearsal.rehearse`.
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
        """Return what is predicted of `events`, which no expert learns, not even their labels.

        Parameters
        ----------
        events
            Those that are not learnt from.
        pooling
            How the experts were pooled after the first pass. Given that, they are pooled like this again, and then
            micro-batch by micro-batch as the loss on `events` tells, each predicted before; in further passes it is
            the only sign of what the transformer has come to be worth beside the others. None lets nothing move.

        """
        if pooling is not None:
            self._updater.mixture.load_pooling(pooling)
        size = self._updater.config.micro_batch
        found: list[Said] = []
        for first in range(0, len(events), size):
            found += self._said(events[first : first + size], follows=pooling is not None)
        return found

    def judge_transformer(self, events: Sequence[Event]) -> float | None:
        """Return how often the transformer alone is right about `events`; None where there is none."""
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
