"""What fine-tuning does with a learner of texts without labels: further passes, and what texts cost behind them."""

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

TOGETHER = 64  # texts: one at which the model raises has so many read again, each alone


class LanguageRehearsal:
    """Passes over texts that a learner has learnt, and judgements of what others cost it.

    Parameters
    ----------
    learner
        It has the objective ``language_model``.

    Raises
    ------
    ConfigurationError
        If it has another one.

    """

    def __init__(self, learner: Learner) -> None:
        if not isinstance(learner.objective, LanguageModel):
            raise ConfigurationError("updater.objective must be language_model here")
        self._learner = learner
        self._updater = learner.objective.updater

    @property
    def gains(self) -> bool:
        """A language model gains by reading a text again."""
        return True

    def again(self, events: Sequence[Event]) -> int:
        """Take a step on `events`, which have been learnt before; return on how many it could be taken.

        Nothing is replayed beside them: in such a pass every text comes again as it is.

        Raises
        ------
        DeviceError
            If the device has no memory for it, or has failed.

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
        """Return what each of `events` costs θ, which stays as it is; NaN where that is not finite or not known."""
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
        tokens = np.ones(len(events), np.int64)  # of a text without tokens, its end
        nats[rows], tokens[rows] = known.nats, known.tokens
        return TextFigures(nats, tokens, np.asarray([size(event) for event in events], np.int64))
