"""What is looked at in a run: accuracy overall, by part, from nothing, after each switch and on a return, and loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import Stream

FIRST, AFTER_SWITCH, SMOOTHED = 300, 500, 200  # events
WITHIN = 0.03  # of the accuracy before the switch, to have recovered from it
WORST = 13.8  # −log of a millionth: what one event costs at most, so that a peer that is sure of all is not ridiculed


@dataclass(frozen=True)
class Run:
    """How one learner did on one stream.

    Attributes
    ----------
    correct, losses
        Whether each event was predicted correctly before it was learnt, and −log p of its label, of shape (events,).
    seconds
        What predicting and learning all events took of one processor: what else runs on the machine does not count.
    mebibytes
        The most memory that its process has taken, Python and its libraries included.

    """

    correct: NDArray[np.bool_]
    losses: NDArray[np.float64]
    seconds: float
    mebibytes: float


def figures(stream: Stream, run: Run) -> dict[str, float]:
    """Return the figures of `run` by their names, without that of the stream.

    There are ``overall``, ``first_300``, ``part_N`` of each part, ``first_500``, ``recovery_events`` after the first
    switch and ``first_500_N``, ``recovery_events_N`` after the one to part N where there are more, ``return`` (the
    first 300 events of the first part that has been there before), ``log_loss``, ``events_per_second`` and
    ``mebibytes``.
    """
    correct = run.correct
    found = {"overall": correct.mean(), f"first_{FIRST}": correct[:FIRST].mean()}
    spans = list(zip(stream.begins, stream.ends, strict=True))
    for number, (begin, end) in enumerate(spans, 1):
        found[f"part_{number}"] = correct[begin:end].mean()
    for number, (begin, end) in enumerate(spans[1:], 2):
        behind = "" if number == 2 else f"_{number}"
        found[f"first_{AFTER_SWITCH}{behind}"] = correct[begin : min(end, begin + AFTER_SWITCH)].mean()
        found[f"recovery_events{behind}"] = recovery(correct, stream.begins[number - 2], begin, end)
    if stream.returns:
        begin, end = spans[stream.returns[0]]
        found["return"] = correct[begin : min(end, begin + FIRST)].mean()
    found["log_loss"] = np.minimum(run.losses, WORST).mean()
    found["events_per_second"] = len(correct) / run.seconds
    found["mebibytes"] = run.mebibytes
    return {name: round(float(value), 4) for name, value in found.items()}


def recovery(correct: NDArray[np.bool_], before: int, begin: int, end: int) -> int:
    """Return how many events after `begin` the accuracy over 200 is within .03 of what it was over 500 just before.

    The part before begins at `before`. A part in which it never is counts as a whole.
    """
    smoothed = np.convolve(correct[begin:end], np.ones(SMOOTHED) / SMOOTHED, mode="valid")
    if end - begin < SMOOTHED:
        return end - begin
    recovered = np.flatnonzero(smoothed >= correct[max(before, begin - AFTER_SWITCH) : begin].mean() - WITHIN)
    return SMOOTHED + int(recovered[0]) if len(recovered) else end - begin


def means(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over `runs`, which have the same ones."""
    return {name: round(fmean(run[name] for run in runs), 4) for name in runs[0]}
