"""What was predicted of the newest events, by label: how many of each were found, and for what others were taken."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from streamlearn.events import Label
from streamlearn.terminal import escaped

MOST_EVENTS = 10_000  # a matrix says no more over more of them, and all are kept in each checkpoint
SHOWN = 10
NONE = -1

Pair = tuple[Label, Label | None]
"""The label of an event and what was predicted of it, None where no label was known yet."""


class Predicted(Struct):
    """The window as it is kept: which `labels` there are, and for each event the index of its own and of the other.

    ``pairs`` holds both one after the other, oldest first; where nothing was predicted, the second is :data:`NONE`.
    """

    labels: list[str | int] = []
    pairs: list[int] = []

    def __post_init__(self) -> None:
        known = all(NONE <= place < len(self.labels) for place in self.pairs)
        if not known or NONE in self.pairs[::2] or len(self.pairs) % 2:
            raise ValueError("these are no pairs of labels")


class Predictions:
    """The confusion matrix over the newest events, each predicted before it was learnt.

    Parameters
    ----------
    window
        How many events count, up to :data:`MOST_EVENTS`.

    Examples
    --------
    >>> predictions = Predictions(window=3)
    >>> predictions.add(["spam", "ham", "spam", "spam"], ["ham", "ham", "spam", "ham"])
    >>> [(row["label"], row["recall"], row["predicted"]) for row in predictions.view()["rows"]]  # of the last three
    [('ham', 1.0, [1, 0]), ('spam', 0.5, [1, 1])]

    """

    def __init__(self, window: int) -> None:
        self._pairs: deque[Pair] = deque(maxlen=min(window, MOST_EVENTS))
        self._counts: Counter[Pair] = Counter()

    def add(self, labels: Sequence[Label], predicted: Sequence[Label | None]) -> None:
        """Take in the `labels` of events and what was `predicted` of each, None where no label was known yet."""
        for pair in zip(labels, predicted, strict=True):
            if len(self._pairs) == self._pairs.maxlen:
                oldest = self._pairs[0]
                self._counts[oldest] -= 1
                if not self._counts[oldest]:
                    del self._counts[oldest]
            self._pairs.append(pair)
            self._counts[pair] += 1

    def counts(self) -> dict[Pair, int]:
        """Return a copy of how often each pair of a label and what was predicted of it is in the window."""
        return dict(self._counts)

    def view(self) -> dict[str, Any] | None:
        """Return the matrix as :func:`matrix` does."""
        return matrix(self._counts)

    def kept(self) -> Predicted:
        """Return the window, to be kept."""
        index: dict[Label, int] = {}
        pairs = []
        for label, predicted in self._pairs:
            pairs.append(index.setdefault(label, len(index)))
            pairs.append(NONE if predicted is None else index.setdefault(predicted, len(index)))
        return Predicted(list(index), pairs)

    def load(self, kept: Predicted) -> None:
        """Go on from what :meth:`kept` returned."""
        labels, pairs = kept.labels, kept.pairs
        self._pairs.clear()
        self._counts.clear()
        self.add([labels[at] for at in pairs[::2]], [None if at == NONE else labels[at] for at in pairs[1::2]])


def matrix(counts: Mapping[Pair, int]) -> dict[str, Any] | None:
    """Return the matrix of the pairs that are there so often, as plain values; None where there are none.

    Returns
    -------
    view
        ``events`` is their number. ``rows`` are those of the most frequent labels, as which they were sent or
        predicted, in the order of their names: ``label``, ``events``, ``recall`` (the share of them that was
        predicted right, None without any) and ``predicted``, for each row's label how often that was predicted.
        Where there are more labels than rows, or something had no prediction, a last row stands for all
        ``others``, whose number it gives, and a last column for what else was predicted.

    """
    if not counts:
        return None
    true, met, right = Counter[Label](), Counter[Label](), Counter[Label]()
    for (label, predicted), count in counts.items():
        true[label] += count
        met[label] += count
        if predicted is not None:
            met[predicted] += count
        if predicted == label:
            right[label] += count
    # of labels that were met as often, by name too: the order of counts is another after a restart
    most = heapq.nsmallest(SHOWN, met, key=lambda label: (-met[label], *_by_name(label)))
    shown = sorted(most, key=_by_name)
    index = {label: place for place, label in enumerate(shown)}
    table = [[0] * (len(shown) + 1) for _ in range(len(shown) + 1)]
    for (label, predicted), count in counts.items():
        column = len(shown) if predicted is None else index.get(predicted, len(shown))
        table[index.get(label, len(shown))][column] += count
    others = met.keys() - index.keys()
    wide = bool(others) or any(row[-1] for row in table)
    rows = [
        _row(escaped(str(label)), true[label], right[label], table[place][: len(shown) + wide])
        for label, place in index.items()
    ]
    if others:
        of_others = sum(true[label] for label in others), sum(right[label] for label in others)
        rows.append(_row(None, *of_others, table[-1]) | {"others": len(others)})
    return {"events": sum(counts.values()), "rows": rows}


def recalls(counts: Mapping[Pair, int], *, most: int) -> dict[str, float]:
    """Return which share of its events was predicted right, for each label that has any.

    Parameters
    ----------
    counts
        How often each pair is there.
    most
        How many labels at most: those with most events, and of labels with as many the first by name.

    Returns
    -------
    recalls
        By the label as it is shown; 1 and "1" are shown as one. A label without events has none.

    """
    true, right = Counter[str](), Counter[str]()
    shown = {label: escaped(str(label)) for label, _ in counts}
    for (label, predicted), count in counts.items():
        true[shown[label]] += count
        right[shown[label]] += count * (predicted == label)
    often = heapq.nsmallest(most, true, key=lambda label: (-true[label], label))
    return {label: right[label] / true[label] for label in often}


def _by_name(label: Label) -> tuple[str, bool]:
    return str(label), type(label) is str


def _row(label: str | None, events: int, right: int, predicted: list[int]) -> dict[str, Any]:
    return {"label": label, "events": events, "recall": right / events if events else None, "predicted": predicted}
