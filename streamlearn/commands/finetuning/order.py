"""The order of the examples in a pass: shuffled anew for each pass, and the same when a pass is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from streamlearn.events import Event


class Texts(Dataset[Event]):
    """Events as a torch data set."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: int) -> Event:
        return self._events[index]


class Shuffled(Sampler[int]):
    """The indices from 0 to below `count` in an order determined by `seed` and `epoch`, without the first `taken`.

    Examples
    --------
    >>> whole = list(Shuffled(6, seed=0, epoch=1))
    >>> sorted(whole), list(Shuffled(6, seed=0, epoch=1, taken=4)) == whole[4:]
    ([0, 1, 2, 3, 4, 5], True)

    """

    def __init__(self, count: int, *, seed: int, epoch: int, taken: int = 0) -> None:
        self._order: list[int] = np.random.default_rng([seed, epoch]).permutation(count)[taken:].tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


def batches(events: Sequence[Event], *, size: int, seed: int, epoch: int, taken: int) -> DataLoader[Event]:
    """Return the remaining batches of `size` events of the pass `epoch` after `taken` events."""
    return DataLoader(
        Texts(events),
        batch_size=size,
        sampler=Shuffled(len(events), seed=seed, epoch=epoch, taken=taken),
        collate_fn=list,
        generator=torch.Generator(),  # otherwise it would draw from torch's global one, which must not change here
    )
