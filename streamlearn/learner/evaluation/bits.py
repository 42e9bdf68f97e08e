"""How many bits a language model needs for a text: prequential over a window, and on the hold-out.

Perplexity is per token and so cannot be compared across tokenizers; bits per byte of UTF-8 can, and snapshots are
judged by them. Over several texts both are ratios of sums, not means of ratios.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from streamlearn.reports import TextFigures
from streamlearn.state import State

MOST_PERPLEXITY = 1e300  # exp overflows beyond e**709


@dataclass(frozen=True)
class Bits:
    """The cost of `events` texts of a split; `nats`, `tokens` and `bytes` leave out the `unpredicted` ones."""

    events: int
    unpredicted: int
    nats: float
    tokens: int
    bytes: int

    @classmethod
    def of(cls, texts: TextFigures) -> Bits:
        """Return the total cost of `texts`."""
        known = [index for index, nats in enumerate(texts.nats.tolist()) if math.isfinite(nats)]
        return cls(
            events=len(texts.nats),
            unpredicted=len(texts.nats) - len(known),
            nats=math.fsum(texts.nats[known].tolist()),
            tokens=int(texts.tokens[known].sum()),
            bytes=int(texts.bytes[known].sum()),
        )

    @property
    def unpredictable(self) -> float:
        """The share of texts without a finite cost, 0 if there are none."""
        return self.unpredicted / self.events if self.events else 0.0

    @property
    def figure(self) -> float | None:
        """The figure that the objective is judged by: bits per byte, None if there are no events."""
        return self.nats / math.log(2.0) / self.bytes if self.bytes else None


class PrequentialBits:
    """The cost of the last texts, measured before they were learnt.

    Parameters
    ----------
    window
        Texts that count.

    Examples
    --------
    >>> bits = PrequentialBits(window=2)
    >>> bits.update([(100.0, 3, 9), (8 * math.log(2.0), 4, 10), (4 * math.log(2.0), 2, 5)])
    >>> round(bits.bits_per_byte, 3), round(bits.perplexity, 3)  # of the last two
    (0.8, 4.0)

    References
    ----------
    Gao, L. et al. (2020). The Pile: an 800GB dataset of diverse text for language modeling (bits per UTF-8 byte).

    """

    def __init__(self, window: int) -> None:
        self._window: deque[tuple[float, int, int]] = deque(maxlen=window)

    def update(self, texts: Iterable[tuple[float, int, int]]) -> None:
        """Add the next texts, each given as its cost in nats, its tokens and its bytes."""
        self._window.extend(texts)

    @property
    def perplexity(self) -> float:
        """The perplexity: e to the power of a token's mean loss, NaN before the first text."""
        tokens = sum(tokens for _, tokens, _ in self._window)
        return math.exp(min(self._nats() / tokens, math.log(MOST_PERPLEXITY))) if tokens else math.nan

    @property
    def bits_per_byte(self) -> float:
        """The bits per byte, NaN before the first text."""
        size = sum(size for _, _, size in self._window)
        return self._nats() / math.log(2.0) / size if size else math.nan

    def _nats(self) -> float:
        return math.fsum(nats for nats, _, _ in self._window)

    def state(self) -> State:
        """Return the cost of each text in the window, oldest first."""
        return {"window": [list(text) for text in self._window]}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        self._window.clear()
        self._window.extend((nats, tokens, size) for nats, tokens, size in state["window"])
