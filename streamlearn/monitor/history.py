"""What the page remembers across a restart: it lies beside the state in each checkpoint, and decides nothing."""

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
    """A drift: after how many events which signal had risen, and when that was, in seconds since 1970."""

    events: int
    detector: str
    at: float


class Publication(Struct):
    """A published version: how many events were learnt into it, None where that is not known, and when it was."""

    version: int
    events: int | None
    at: float


class Refusal(Struct):
    """A dead letter without anything of its text: why, what that is about, where its record stands, and when it was."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    at: float


class History(Struct):
    """All of it, of bounded size.

    Attributes
    ----------
    step, counts, reasons
        Where the learner stood: its steps, the records dealt with by outcome, and the dead letters among them by
        reason.
    course
        Loss and figure over the events learnt.
    loss
        The mean loss of the last micro-batch, None before the first.
    drifts, publications, refusals
        The newest, oldest first.
    experts
        How each expert does, by name.
    predicted
        What was predicted of the newest events.

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
        """Return where the learner stood, as far as that is told here."""
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
    """Return what :func:`write` has made `written` of; None where that is nothing.

    Raises
    ------
    ValueError
        If it is none that this version knows.

    """
    try:
        return msgspec.convert(json.loads(written), type=History) if written else None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
