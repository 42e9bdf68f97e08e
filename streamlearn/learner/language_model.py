"""The objective ``language_model``: each token is predicted, and a text is measured in bits per byte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np

from streamlearn.config import Config
from streamlearn.events import Event, Label
from streamlearn.learner.evaluation.bits import Bits, PrequentialBits
from streamlearn.learner.evaluation.holdout import REFERENCE, HoldOut
from streamlearn.reports import StepResult
from streamlearn.state import Export, State, Stateful
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer
from streamlearn.updater.language.annealing import annealed
from streamlearn.updater.language.updater import LanguageUpdater

MEASURED_TOKENS = 8192  # per split: on two cores a model of 135 million weights reads them in about 40 s


class LanguageModel:
    """Learns texts without labels; see :class:`~streamlearn.learner.objective.Objective`.

    Parameters
    ----------
    config
        The sections ``updater`` and ``monitor`` are read.

    Attributes
    ----------
    bits
        Prequential.

    """

    name = "language_model"
    detectors: Sequence[str] = ("loss",)
    references = 64

    def __init__(self, config: Config) -> None:
        self.updater = LanguageUpdater(config)
        self.bits = PrequentialBits(config.monitor.accuracy_window)

    @property
    def regularizer(self) -> Regularizer | None:
        """R of the language model."""
        return self.updater.descent.regularizer

    @property
    def labels(self) -> Sequence[Label]:
        """None."""
        return ()

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """The bits."""
        return {"bits": self.bits}

    @property
    def tells(self) -> bool:
        """A language model always predicts something."""
        return True

    def signals(self, result: StepResult) -> Mapping[str, Sequence[float]]:
        """Return 1 − 2^(−bits per byte) as the loss: 1 minus the geometric mean of the probabilities of bytes."""
        texts = result.texts
        if texts is None:
            raise ValueError("the step says nothing about what texts cost")
        self.bits.update(zip(texts.nats.tolist(), texts.tokens.tolist(), texts.bytes.tolist(), strict=True))
        return {"loss": (1.0 - np.exp2(-texts.bits_per_byte)).tolist()}

    def figures(self) -> Mapping[str, float]:
        """Return the perplexity and the bits per byte."""
        return {"perplexity": self.bits.perplexity, "bits_per_byte": self.bits.bits_per_byte}

    def evaluate(self, holdout: HoldOut) -> dict[str, Bits]:
        """Return the cost of the newest texts of each split, and of the reference, the first texts that were held out.

        At most :data:`MEASURED_TOKENS` tokens of each split are read, but always at least one text.
        """
        return {split: Bits.of(self.updater.measure(self._measured(split, held))) for split, held in holdout.splits()}

    @staticmethod
    def _measured(split: str, held: Sequence[Event]) -> list[Event]:
        counted: list[Event] = []
        tokens = 0
        for event in held if split == REFERENCE else reversed(held):
            tokens += 0 if event.tokens is None else len(event.tokens)
            if counted and tokens > MEASURED_TOKENS:
                break
            counted.append(event)
        return counted

    def evaluate_transformer(self, holdout: HoldOut) -> dict[str, Bits]:  # noqa: ARG002 - it is all there is
        """Return nothing: there is only the transformer."""
        return {}

    @property
    def presentable(self) -> bool:
        """Whether a step has been taken."""
        return self.updater.steps > 0

    def annealed(self, learnt: Sequence[Event], holdout: HoldOut) -> AbstractContextManager[State | None]:
        """Let the updater be its annealed copy meanwhile, if one is configured and better on the validation set."""

        def cost() -> tuple[float, float]:
            bits = Bits.of(self.updater.measure(self._measured("validation", dict(holdout.splits())["validation"])))
            return bits.unpredictable, math.inf if bits.figure is None else bits.figure

        return annealed(self.updater, learnt, cost)

    def export(self, state: State) -> Export:
        """Return the model in the form that transformers loads."""
        return self.updater.export(state)

    def describe(self) -> str:
        """Say how much of the model trains."""
        return self.updater.describe()
