"""Prequential accuracy: test, then train, over a sliding window."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from streamlearn.state import State


class PrequentialAccuracy:
    """The share of the last events that were predicted correctly before they were learnt.

    Parameters
    ----------
    window
        Events that count.

    Examples
    --------
    >>> accuracy = PrequentialAccuracy(window=4)
    >>> accuracy.update([True, True, False, True, False])
    >>> accuracy.value
    0.5

    References
    ----------
    Gama, J., Sebastião, R. and Rodrigues, P. P. (2013). On evaluating stream learning algorithms.
    Machine Learning 90.

    """

    def __init__(self, window: int) -> None:
        self._window: deque[bool] = deque(maxlen=window)
        self._correct = 0

    @property
    def value(self) -> float:
        """The accuracy, NaN before the first event."""
        return self._correct / len(self._window) if self._window else float("nan")

    def update(self, correct: Iterable[bool]) -> None:
        """Add whether each of the next events was predicted correctly."""
        window = self._window
        for hit in correct:
            if len(window) == window.maxlen:
                self._correct -= window[0]
            window.append(bool(hit))
            self._correct += bool(hit)

    def state(self) -> State:
        """Return the window as a string of ones and zeros, oldest first."""
        return {"window": "".join("01"[hit] for hit in self._window)}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        self._window.clear()
        self._window.extend(hit == "1" for hit in state["window"][-(self._window.maxlen or 0) :])
        self._correct = sum(self._window)
