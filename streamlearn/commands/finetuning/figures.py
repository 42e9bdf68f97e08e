"""How well events were predicted that were not learnt: what chooses the epoch, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np

from streamlearn.commands.measures import Measures, Meter
from streamlearn.errors import StateError
from streamlearn.events import Event
from streamlearn.learner.evaluation.bits import MOST_PERPLEXITY
from streamlearn.learner.rehearsal import Said
from streamlearn.reports import TextFigures

RAW = 8.0 * math.log(2.0)  # nats: what a byte costs whoever has no idea of what comes


class Figures(Protocol):
    """The figures of at least one event, a dataclass.

    Attributes
    ----------
    columns
        What :meth:`cells` are called, in plain words.

    """

    columns: ClassVar[Sequence[str]]

    @property
    def events(self) -> int:
        """How many events it is about."""
        ...

    @property
    def choosing(self) -> float:
        """What the epoch is chosen by: the least is the best."""
        ...

    def cells(self) -> Sequence[str]:
        """Return the figures as a table shows them."""
        ...

    def in_words(self) -> str:
        """Say the first of them in one line."""
        ...


@dataclass(frozen=True)
class LabelFigures:
    """How well labels were predicted, as :class:`~streamlearn.commands.measures.Measures` says."""

    columns: ClassVar[Sequence[str]] = ("examples", "accuracy", "macro-F1", "log loss, nats", "calibration error")

    events: int
    accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float | None

    @classmethod
    def of(cls, events: Sequence[Event], said: Sequence[Said]) -> LabelFigures:
        """Return the figures of what was `said` of at least one of `events`."""
        meter = Meter()
        for event, one in zip(events, said, strict=True):
            meter.add(event.label, one.label, one.confidence, one.loss)
        found: Measures = meter.measures()
        return cls(found.events, found.accuracy, found.macro_f1, found.log_loss, found.calibration_error)

    @property
    def choosing(self) -> float:
        """The log loss."""
        return self.log_loss

    def cells(self) -> Sequence[str]:
        """Return the figures as a table shows them."""
        calibration = "-" if self.calibration_error is None else f"{self.calibration_error:.4f}"
        return [
            str(self.events),
            f"{self.accuracy:.4f}",
            f"{self.macro_f1:.4f}",
            f"{self.log_loss:.4f}",
            calibration,
        ]

    def in_words(self) -> str:
        """Say accuracy and loss."""
        return f"accuracy {self.accuracy:.4f}, log loss {self.log_loss:.4f} ({self.events} examples)"


@dataclass(frozen=True)
class CostFigures:
    """What texts cost a language model, all of them as one.

    Attributes
    ----------
    events, bytes, tokens
        How many texts there are, the bytes that they have in UTF-8, and the tokens that were predicted, ends included.
    unpredicted
        How many of the texts have no finite cost; each byte of these counts as eight bits, as if nothing were known.
    bits_per_byte
        What a byte costs.
    perplexity
        e to the power of a token's mean loss.

    """

    columns: ClassVar[Sequence[str]] = ("texts", "bits per byte", "perplexity", "bytes", "tokens")

    events: int
    bytes: int
    tokens: int
    unpredicted: int
    bits_per_byte: float
    perplexity: float

    @classmethod
    def of(cls, texts: TextFigures) -> CostFigures:
        """Return what at least one of `texts` costs.

        Examples
        --------
        >>> nats = np.array([8 * math.log(2.0), math.nan])
        >>> CostFigures.of(TextFigures(nats, np.array([4, 2]), np.array([8, 4]))).bits_per_byte  # (8 + 4 · 8) / 12
        3.3333333333333335

        """
        known = np.isfinite(texts.nats)
        nats = math.fsum(np.where(known, texts.nats, RAW * texts.bytes).tolist())
        size, tokens = int(texts.bytes.sum()), int(texts.tokens.sum())
        return cls(
            events=len(texts.nats),
            bytes=size,
            tokens=tokens,
            unpredicted=int((~known).sum()),
            bits_per_byte=nats / math.log(2.0) / size,
            perplexity=math.exp(min(nats / tokens, math.log(MOST_PERPLEXITY))),
        )

    @property
    def choosing(self) -> float:
        """The bits per byte."""
        return self.bits_per_byte

    def cells(self) -> Sequence[str]:
        """Return the figures as a table shows them."""
        numbers = str(self.bytes), str(self.tokens)
        return [str(self.events), f"{self.bits_per_byte:.4f}", f"{self.perplexity:.4g}", *numbers]

    def in_words(self) -> str:
        """Say bits per byte and perplexity, and how many texts have no cost."""
        odd = f", {self.unpredicted} of them without a finite cost" if self.unpredicted else ""
        shown = f"{self.bits_per_byte:.4f} bits per byte, perplexity {self.perplexity:.4g}"
        return f"{shown} ({self.events} texts{odd})"


def load_figures(told: Mapping[str, Any]) -> Figures:
    """Return what ``dataclasses.asdict`` made `told` of; StateError where another version has recorded others."""
    kinds: Sequence[type[LabelFigures | CostFigures]] = (LabelFigures, CostFigures)
    for kind in kinds:
        if {field.name for field in fields(kind)} == set(told):
            return kind(**told)
    raise StateError(
        f"another version of streamlearn has begun this fine-tuning, and recorded other figures ({', '.join(told)}); "
        "go on with that one, or name another --output"
    )
