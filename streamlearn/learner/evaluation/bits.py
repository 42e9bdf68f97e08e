"""How many bits a language model needs for a text: prequential over a window, and on the hold-out.

Perplexity is by token, and so says nothing across tokenizers; bits per byte of UTF-8 do, and it is by them that a
snapshot is judged. Over several texts both are those of all of them as one: the sums are divided, not the quotients
averaged.
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
    """What so many `events` of a split cost, those that are `unpredicted` left out of `nats`, `tokens` and `bytes`."""

    events: int
    unpredicted: int
    nats: float
    tokens: int
    bytes: int

    @classmethod
    def of(cls, texts: TextFigures) -> Bits:
        """Return what `texts` cost together."""
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
        """The share of those that have no finite cost, 0 where there is no event."""
        return self.unpredicted / self.events if self.events else 0.0

    @property
    def figure(self) -> float | None:
        """What the objective goes by: the bits per byte, None where there is no event."""
        return self.nats / math.log(2.0) / self.bytes if self.bytes else None


class PrequentialBits:
    """What the last texts cost before they were learnt.

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
        """Take in what each of the next texts cost in nats, its tokens and its bytes."""
        self._window.extend(texts)

    @property
    def perplexity(self) -> float:
        """The perplexity: e to the power of a token's mean loss, NaN before the first text."""
        tokens = sum(tokens for _, tokens, _ in self._window)
        return math.exp(min(self._nats() / tokens, math.log(MOST_PERPLEXITY))) if tokens else math.nan

    @property
    def bits_per_byte(self) -> float:
        """The bits that a byte costs, NaN before the first text."""
        size = sum(size for _, _, size in self._window)
        return self._nats() / math.log(2.0) / size if size else math.nan

    def _nats(self) -> float:
        return math.fsum(nats for nats, _, _ in self._window)

    def state(self) -> State:
        """Return what each text of the window cost, oldest first."""
        return {"window": [list(text) for text in self._window]}

    def load(self, state: State) -> None:
        """Continue from `state`."""
        self._window.clear()
        self._window.extend((nats, tokens, size) for nats, tokens, size in state["window"])
