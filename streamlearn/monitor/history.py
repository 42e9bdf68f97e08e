"""What the page remembers across a restart: stored beside the state in each checkpoint, and without effect on it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import msgspec
from msgspec import Struct, field

from streamlearn.monitor.course import Course
from streamlearn.monitor.experts import ExpertCourse
from streamlearn.monitor.predictions import Predicted
from streamlearn.reports import Standing


class Drift(Struct):
    """A drift: the number of events before it, the signal that had risen, and the time in seconds since 1970."""

    events: int
    detector: str
    at: float


class Publication(Struct):
    """A published version: how many events it had learnt, None if unknown, and when it was published."""

    version: int
    events: int | None
    at: float


class Refusal(Struct):
    """A dead letter without any of its text: the reason and its detail, the position of its record, and the time."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    at: float


class History(Struct):
    """The whole history, of bounded size.

    Attributes
    ----------
    step, counts, reasons
        Where the learner stood: its steps, the records processed by outcome, and the dead letters among them by reason.
    course
        Loss and figure over the events learnt.
    loss
        The mean loss of the last micro-batch, None before the first.
    drifts, publications, refusals
        The newest ones, oldest first.
    experts
        The state of each expert, by name.
    predicted
        The predictions of the newest events.

    """

    step: int = 0
    counts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    course: Course = field(default_factory=Course)
    loss: float | None = None
    drifts: list[Drift] = []
    publications: list[Publication] = []
    refusals: list[Refusal] = []
    experts: dict[str, ExpertCourse] = {}
    predicted: Predicted = field(default_factory=Predicted)

    def standing(self, *, labelled: bool) -> Standing:
        """Return where the learner stood, as far as it is recorded here."""
        standing = Standing(step=self.step, counts=Counter(self.counts), reasons=Counter(self.reasons))
        figure = self.course.last[1]
        if figure is None:
            return standing
        return replace(standing, accuracy=figure) if labelled else replace(standing, bits_per_byte=figure)


UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError, MemoryError, msgspec.MsgspecError)
"""What :func:`write` raises where something has got into a history that JSON cannot hold."""


def write(history: History) -> bytes:
    """Return `history` as JSON; the errors are those of :data:`UNWRITABLE`.

    A model may bring any label, also half of a surrogate pair, which no UTF-8 holds: JSON spells it out.
    """
    spelled = json.dumps(msgspec.to_builtins(history), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return spelled.encode(errors="backslashreplace")


def read(written: bytes) -> History | None:
    """Return the history that :func:`write` turned into `written`; None if that is empty.

    Raises
    ------
    ValueError
        If this version cannot read it.

    """
    try:
        return msgspec.convert(json.loads(written), type=History) if written else None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
