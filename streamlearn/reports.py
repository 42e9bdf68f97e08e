"""What a step consumes, what it did, and where the learner stands after it: data that every package may import."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlearn.events import Event, Label, Outcome, Reason
from streamlearn.records import Positions, Range, Record, by_name


@dataclass
class MicroBatch:
    """What one step consumes; falsy if that is nothing.

    Attributes
    ----------
    fresh, records
        The events that are trained on, and Kafka's records from which they came, in the same order.
    held_out, held_out_records
        The events that are never trained on, and their records.
    refused
        Records that decoding accepted and admission refused.
    outcomes, reasons
        How many records had each outcome, and the reasons of the dead letters among them.
    positions
        The next offsets to read once all of it has been processed.
    ranges
        The runs of offsets in the order in which they were taken.
    ids, labels
        What admission remembers once the batch is learnt, in the order of the records.
    bytes
        The memory that all its records take, whatever their outcome.

    """

    fresh: list[Event] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    held_out: list[Event] = field(default_factory=list)
    held_out_records: list[Record] = field(default_factory=list)
    refused: list[tuple[Record, Reason]] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    positions: Positions = field(default_factory=dict)
    ranges: list[Range] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    labels: dict[Label, None] = field(default_factory=dict)
    bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.positions)


@dataclass(frozen=True)
class ExpertReport:
    """How one expert of the mixture did in one step.

    Attributes
    ----------
    weight
        The exponent of its probabilities in the mixture after the step; it may be negative.
    loss
        The mean of -log p(label), in nats, of its own calibrated predictions of the fresh events that were learnt.

    """

    weight: float
    loss: float


@dataclass(frozen=True)
class TextFigures:
    """What texts cost a language model.

    Attributes
    ----------
    nats
        The sum of −log p over the tokens of each text and its end, of shape (texts,), NaN where it is not known.
    tokens
        The number of those tokens, the end included, of shape (texts,).
    bytes
        How many bytes each text has in UTF-8, of shape (texts,).

    """

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]

    @property
    def losses(self) -> NDArray[np.float32]:
        """The mean of −log p over the tokens of each text, of shape (texts,)."""
        return (self.nats / self.tokens).astype(np.float32)

    @property
    def bits_per_byte(self) -> NDArray[np.float64]:
        """The bits per byte of each text, of shape (texts,): comparable across tokenizers."""
        return np.asarray(self.nats / math.log(2.0) / self.bytes, dtype=np.float64)


@dataclass(frozen=True)
class StepResult:
    """What one step showed.

    ``correct`` and ``losses`` are of shape (learnt,): one value for each fresh event that was learnt, in order, from
    its prediction before. ``loss`` is the mean over them; if the only expert is one that replays, over the replayed
    events, too. ``refused`` maps the other fresh events, by index, to the reason why no step can be taken on them.
    ``unfit`` are the indices of such events among the replayed ones. If no fresh event could be learnt, θ did not
    change.

    ``experts`` are those that took part in the mixture, by name. ``dropped`` are those left out of this step, with the
    reason, ``not_finite`` or ``runaway``. ``predicted`` and ``confidences`` belong to the same events as ``correct``,
    and have the same shape: the predicted label, None if no label was known yet, and its probability.

    A language model has no labels: ``correct`` is empty, ``texts`` holds the cost of the same events before they were
    learnt, and ``losses`` are per token.
    """

    correct: NDArray[np.bool_]
    losses: NDArray[np.float32]
    loss: float
    gradient_norm: float
    learning_rate: float
    refused: dict[int, Reason] = field(default_factory=dict)
    unfit: list[int] = field(default_factory=list)
    experts: Mapping[str, ExpertReport] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    predicted: list[Label | None] = field(default_factory=list)
    confidences: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    texts: TextFigures | None = None

    @property
    def applied(self) -> bool:
        """Whether θ changed."""
        return len(self.losses) > 0


@dataclass(frozen=True)
class Rise:
    """A drift: the signal whose mean has risen, and the event at which it was detected."""

    detector: str
    event: Event


@dataclass(frozen=True)
class StepReport:
    """What one micro-batch did to the learner.

    ``refused`` are the records that admission or the model refused, for the dead letters. ``learnt`` are the other
    fresh events, which ``result`` describes; it is None if there was no fresh event to try.
    """

    step: int
    batch: MicroBatch
    outcomes: Counter[Outcome]
    refused: list[tuple[Record, Reason]]
    result: StepResult | None = None
    learnt: list[Event] = field(default_factory=list)
    replayed: int = 0
    rises: list[Rise] = field(default_factory=list)


@dataclass(frozen=True)
class Standing:
    """Where a learner stands, for the monitor: an immutable copy; without arguments, that of a new learner.

    Attributes
    ----------
    step, version, positions
        How many steps it has taken, the number of the snapshot requested last, and the next offsets to read.
    counts, reasons
        Records processed since the beginning, by outcome, and the dead letters among them by reason.
    accuracy
        The prequential accuracy over the last events; NaN before the first, and for a language model.
    perplexity, bits_per_byte
        The same figures of a language model; NaN before the first event, and for a classifier.
    buffer_records, buffer_capacity, by_label
        How many events the replay buffer holds, how many it can hold, and how many it holds of each label.
    drift_means
        The mean over each detector's window, by the name of its signal.

    """

    step: int = 0
    version: int = 0
    positions: Positions = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    accuracy: float = math.nan
    perplexity: float = math.nan
    bits_per_byte: float = math.nan
    buffer_records: int = 0
    buffer_capacity: int = 0
    by_label: Mapping[Label, int] = field(default_factory=dict)
    drift_means: Mapping[str, float] = field(default_factory=dict)

    @property
    def figure(self) -> float | None:
        """The accuracy or, for a language model, the bits per byte; None before the first event."""
        known = (value for value in (self.accuracy, self.bits_per_byte) if not math.isnan(value))
        return next(known, None)

    def place(self) -> dict[str, Any]:
        """Return where in the stream this is, as plain values for the log."""
        return {"step": self.step, "version": self.version, "positions": by_name(self.positions)}
