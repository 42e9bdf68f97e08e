"""Drift detection by ADWIN on a prequential signal; only a rise counts as drift.

ADWIN keeps a window of the signal and cuts off its older part once the means of the two parts differ by more
than chance. The learner's own progress moves the mean of its loss and error too, downwards; the window is cut
there as well, but no drift is reported.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from importlib.metadata import version

from river.drift import ADWIN

from streamlearn.config import Drift
from streamlearn.state import State

log = logging.getLogger(__name__)

RIVER = version("river")  # read once, because looking it up opens files


class RiseDetector:
    """Reports the events at which the mean of a signal has risen.

    Parameters
    ----------
    config
        ADWIN's settings.

    Examples
    --------
    >>> detector = RiseDetector(Drift())
    >>> detector.update([0.1] * 500 + [0.9] * 100)
    [543]

    References
    ----------
    Bifet, A. and Gavaldà, R. (2007). Learning from time-changing data with adaptive windowing. SDM.

    """

    def __init__(self, config: Drift) -> None:
        self._config = config
        self._adwin = self._fresh()

    def _fresh(self) -> ADWIN:
        return ADWIN(
            delta=self._config.delta,
            clock=self._config.clock,
            grace_period=self._config.grace_period,
            min_window_length=self._config.min_window_length,
        )

    @property
    def mean(self) -> float:
        """The mean of the signal over ADWIN's window, NaN while it is empty."""
        return float(self._adwin.estimation) if self._adwin.width else float("nan")

    def update(self, values: Iterable[float]) -> list[int]:
        """Add the next values and return the indices among them at which a rise was detected."""
        rises = []
        for index, value in enumerate(values):
            before = self.mean
            self._adwin.update(float(value))
            if self._adwin.drift_detected and self.mean > before:
                rises.append(index)
        return rises

    def state(self) -> State:
        """Return ADWIN's window in river's own encoding, with the version of river that made it."""
        encoded = base64.b64encode(self._adwin._helper.__getstate__()).decode()  # noqa: SLF001 - river has no public way
        return {"river": RIVER, "adwin": encoded, "detected": bool(self._adwin.drift_detected)}

    def load(self, state: State) -> None:
        """Continue from `state`; with another version of river, whose encoding may differ, the window starts empty."""
        self._adwin = self._fresh()
        if state["river"] != RIVER:
            log.warning("drift detectors start over: river is %s and was %s", RIVER, state["river"])
            return
        self._adwin._helper.__setstate__(base64.b64decode(state["adwin"]))  # noqa: SLF001
        self._adwin._drift_detected = state["detected"]  # noqa: SLF001
