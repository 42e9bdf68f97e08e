"""What fine-tuning needs of a language model's learner: further passes over texts, and the cost of texts after them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from streamlearn.errors import ConfigurationError
from streamlearn.events import Event
from streamlearn.learner.language_model import LanguageModel
from streamlearn.learner.learner import Learner
from streamlearn.reports import TextFigures
from streamlearn.state import State
from streamlearn.updater.language.updater import size

TOGETHER = 64  # texts: if the model raises on one, all of these are read again one by one


class LanguageRehearsal:
    """Runs further passes over learnt texts, and measures the cost of other texts.

    Parameters
    ----------
    learner
        A learner with the objective ``language_model``.

    Raises
    ------
    ConfigurationError
        If it has another objective.

    """

    def __init__(self, learner: Learner) -> None:
        if not isinstance(learner.objective, LanguageModel):
            raise ConfigurationError("updater.objective must be language_model here")
        self._learner = learner
        self._updater = learner.objective.updater

    @property
    def gains(self) -> bool:
        """A language model always gains from another pass."""
        return True

    def again(self, events: Sequence[Event]) -> int:
        """Take a step on `events`, which have been learnt before; return how many of them were learnt.

        Nothing is replayed beside them, since every text comes again in such a pass.

        Raises
        ------
        DeviceError
            If the device runs out of memory or fails.

        """
        encoded, _ = self._updater.encode_each(events)
        taken = len(encoded) - len(self._updater.step(list(encoded.values())).refused) if encoded else 0
        self._learner.step += 1
        self._learner.proven = False
        return taken

    def pooling(self) -> State:
        """Return nothing: there are no experts."""
        return {}

    def judge(self, events: Sequence[Event]) -> TextFigures:
        """Return the cost of each of `events` without changing θ; NaN if it is not finite or unknown."""
        found = [self._measured(events[first : first + TOGETHER]) for first in range(0, len(events), TOGETHER)]
        return TextFigures(
            nats=np.concatenate([one.nats for one in found]),
            tokens=np.concatenate([one.tokens for one in found]),
            bytes=np.concatenate([one.bytes for one in found]),
        )

    def _measured(self, events: Sequence[Event]) -> TextFigures:
        encoded, _ = self._updater.encode_each(events)
        known = self._updater.measure(list(encoded.values()))
        rows = list(encoded)
        nats = np.full(len(events), math.nan)
        tokens = np.ones(len(events), np.int64)  # a text without tokens still has its end token
        nats[rows], tokens[rows] = known.nats, known.tokens
        return TextFigures(nats, tokens, np.asarray([size(event) for event in events], np.int64))
