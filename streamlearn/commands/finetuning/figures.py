"""How well events that are not learnt were predicted: the figures that choose the epoch and are reported."""

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

RAW = 8.0 * math.log(2.0)  # nats: the cost of a byte without any knowledge


class Figures(Protocol):
    """The figures of at least one event, a dataclass.

    Attributes
    ----------
    columns
        The headings of :meth:`cells`.

    """

    columns: ClassVar[Sequence[str]]

    @property
    def events(self) -> int:
        """How many events they are for."""
        ...

    @property
    def choosing(self) -> float:
        """The figure that the epoch is chosen by; smaller is better."""
        ...

    def cells(self) -> Sequence[str]:
        """Return the figures as cells of a table."""
        ...

    def in_words(self) -> str:
        """Return the main figures in one line."""
        ...


@dataclass(frozen=True)
class LabelFigures:
    """How well labels were predicted; see :class:`~streamlearn.commands.measures.Measures`."""

    columns: ClassVar[Sequence[str]] = ("examples", "accuracy", "macro-F1", "log loss, nats", "calibration error")

    events: int
    accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float | None

    @classmethod
    def of(cls, events: Sequence[Event], said: Sequence[Said]) -> LabelFigures:
        """Return the figures of the predictions `said` for at least one event."""
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
        """Return the figures as cells of a table."""
        calibration = "-" if self.calibration_error is None else f"{self.calibration_error:.4f}"
        return [
            str(self.events),
            f"{self.accuracy:.4f}",
            f"{self.macro_f1:.4f}",
            f"{self.log_loss:.4f}",
            calibration,
        ]

    def in_words(self) -> str:
        """Return accuracy and loss in one line."""
        return f"accuracy {self.accuracy:.4f}, log loss {self.log_loss:.4f} ({self.events} examples)"


@dataclass(frozen=True)
class CostFigures:
    """The total cost of texts for a language model.

    Attributes
    ----------
    events, bytes, tokens
        The number of texts, their bytes in UTF-8, and the predicted tokens, ends included.
    unpredicted
        How many texts have no finite cost; each byte of these counts as eight bits, as without any knowledge.
    bits_per_byte
        The mean cost of a byte.
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
        """Return the cost of `texts`, at least one.

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
        """Return the figures as cells of a table."""
        numbers = str(self.bytes), str(self.tokens)
        return [str(self.events), f"{self.bits_per_byte:.4f}", f"{self.perplexity:.4g}", *numbers]

    def in_words(self) -> str:
        """Return bits per byte and perplexity, and how many texts have no finite cost."""
        odd = f", {self.unpredicted} of them without a finite cost" if self.unpredicted else ""
        shown = f"{self.bits_per_byte:.4f} bits per byte, perplexity {self.perplexity:.4g}"
        return f"{shown} ({self.events} texts{odd})"


def load_figures(told: Mapping[str, Any]) -> Figures:
    """Return the figures that ``dataclasses.asdict`` turned into `told`; StateError if these are another version's."""
    kinds: Sequence[type[LabelFigures | CostFigures]] = (LabelFigures, CostFigures)
    for kind in kinds:
        if {field.name for field in fields(kind)} == set(told):
            return kind(**told)
    raise StateError(
        f"another version of streamlearn has begun this fine-tuning, and recorded other figures ({', '.join(told)}); "
        "go on with that one, or name another --output"
    )
