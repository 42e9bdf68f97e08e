"""A stream that the tiny model can learn: the label follows from the words, until it follows in another way."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from streamlearn.config import Config
from streamlearn.local.tiny import WORDS
from tests.integration.learner import event, send

THEMES = 3
EVERY_SECONDS = 0.5
TRAINED = 640  # events after which the tiny model knows the themes


def themed(number: int, *, novel: bool = False, turn: int = 0) -> bytes:
    """Return the record `number`: five words of one half of a theme, under the label of the theme `turn` further."""
    theme, half = number % THEMES, len(WORDS) // THEMES // 2
    first = (2 * theme + novel) * half
    words = random.Random(number).choices(WORDS[first : first + half], k=5)
    return event(number, text=" ".join(words), label=f"label-{(theme + turn) % THEMES}")


def drifted(number: int) -> bytes:
    """Return the record `number` under another label than before, which nobody can miss."""
    return themed(number, turn=1)


def renewed(number: int) -> bytes:
    """Return the record `number` in words that none was of before, under the label that its theme always had."""
    return themed(number, novel=True)


@contextmanager
def flowing(config: Config, values: Iterable[bytes], *, each: int = 10) -> Iterator[None]:
    """Send the next `each` of `values` every half second, until it is over."""
    over, rest = threading.Event(), iter(values)

    def flow() -> None:
        while not over.wait(EVERY_SECONDS):
            send(config, islice(rest, each))

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
