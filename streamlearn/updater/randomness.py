"""A private random state: torch has one generator for the whole process, which two learners must not share."""

from __future__ import annotations

import torch
from torch import Tensor

Mark = tuple[Tensor, ...]
"""The states of the generators: torch's on the CPU and, on CUDA, the device's."""


class OwnRandom:
    """A context in which torch's generators continue from a private state; outside it they are unaffected.

    So two learners in one process, as in a comparison, draw the same as each would alone.

    Parameters
    ----------
    seed
        Seeds the generators.
    device
        The device whose generator is used besides the CPU's.

    Examples
    --------
    >>> one, other = (OwnRandom(3, torch.device("cpu")) for _ in range(2))
    >>> with one:
    ...     first = torch.rand(2)
    >>> with other:
    ...     second = torch.rand(2)
    >>> torch.equal(first, second)
    True

    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        generators = [torch.Generator(where) for where in ("cpu", self._cuda) if where is not None]
        self._own: Mark = tuple(generator.manual_seed(seed).get_state() for generator in generators)

    def __enter__(self) -> None:
        self._outside = self._now()
        self._put(self._own)

    def __exit__(self, *_: object) -> None:
        self._own = self._now()
        self._put(self._outside)

    def mark(self) -> Mark:
        """Return the states of the generators, for :meth:`reset`; not from within the context."""
        return self._own

    def reset(self, mark: Mark) -> None:
        """Set the generators to `mark`; not from within the context."""
        self._own = mark

    def _now(self) -> Mark:
        cpu = torch.get_rng_state()
        return (cpu,) if self._cuda is None else (cpu, torch.cuda.get_rng_state(self._cuda))

    def _put(self, mark: Mark) -> None:
        torch.set_rng_state(mark[0])
        if self._cuda is not None and len(mark) > 1:
            torch.cuda.set_rng_state(mark[1], self._cuda)
