"""How well labels were predicted: the measures of an evaluation, updated event by event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from river import metrics

from streamlearn.events import Label

BINS = 15  # of equal width over the confidence, as in the paper


@dataclass(frozen=True)
class Measures:
    """How well `events` events were predicted, each before it was learnt.

    Attributes
    ----------
    events
        How many events there were.
    accuracy
        The share of those whose label was predicted.
    macro_f1
        The mean over labels of F1, the harmonic mean of precision and recall.
    kappa
        Cohen's κ: 1 is always right, 0 as often right as chance with the same frequencies.
    calibration_error
        The mean difference between confidence and accuracy over events [1]_; None if nothing was predicted.
    log_loss
        The mean of −log p(label), in nats.
    recall
        The share of the events of each label that were predicted to have it.

    References
    ----------
    .. [1] Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On calibration of modern neural networks. ICML.

    """

    events: int
    accuracy: float
    macro_f1: float
    kappa: float
    calibration_error: float | None
    log_loss: float
    recall: dict[Label, float]


class Meter:
    """Collects predictions one by one.

    Examples
    --------
    >>> meter = Meter()
    >>> meter.add("spam", None, 0.0, 0.7)  # no label was known yet
    >>> meter.add("spam", "spam", 0.8, 0.2)
    >>> meter.add("ham", "spam", 0.6, 1.2)
    >>> found = meter.measures()
    >>> round(found.accuracy, 3), round(found.macro_f1, 3), round(found.log_loss, 3), found.recall
    (0.333, 0.25, 0.7, {'ham': 0.0, 'spam': 0.5})
    >>> round(found.calibration_error, 3)  # of 0.8, which was right, and 0.6, which was wrong
    0.4

    """

    def __init__(self) -> None:
        self._confusion = metrics.ConfusionMatrix()
        self._loss = 0.0
        self._events = 0
        self._bins = np.zeros((3, BINS))  # per bin: number of events, sum of confidence, number of correct ones

    @property
    def events(self) -> int:
        """How many events were added."""
        return self._events

    def add(self, label: Label, predicted: Label | None, confidence: float, loss: float) -> None:
        """Add an event with the true `label` and what was `predicted`, with its `confidence` and `loss`.

        Parameters
        ----------
        label, predicted
            The true label and the most probable one, which is None if no label was known yet, and counts as wrong.
        confidence
            The probability of `predicted`; ignored if that is None.
        loss
            −log p(label).

        """
        self._confusion.update(label, predicted)
        self._loss += loss
        self._events += 1
        if predicted is not None:
            self._bins[:, min(int(confidence * BINS), BINS - 1)] += 1.0, confidence, label == predicted

    def measures(self) -> Measures:
        """Return the measures; at least one event must have been added."""
        confusion = self._confusion
        labels = sorted((label for label in confusion.classes if label is not None), key=lambda x: (str(type(x)), x))
        f1 = {label: metrics.F1(cm=confusion, pos_val=label).get() for label in labels}
        predicted, confidences, correct = self._bins
        gap = float(np.abs(confidences - correct).sum() / predicted.sum()) if predicted.any() else None
        return Measures(
            events=self._events,
            accuracy=metrics.Accuracy(cm=confusion).get(),
            macro_f1=sum(f1.values()) / len(f1),
            kappa=metrics.CohenKappa(cm=confusion).get(),
            calibration_error=gap,
            log_loss=self._loss / self._events,
            recall={
                label: metrics.Recall(cm=confusion, pos_val=label).get() for label in labels if confusion.sum_row[label]
            },
        )
