"""Batches the texts of a micro-batch for the model: sorted by length, in parts that waste little padding.

A part costs its rectangle of tokens, (texts, longest text), and a fixed overhead: the kernel launches and the weights
that are read again. The cheapest cut of the sorted texts into parts is found exactly, by dynamic programming over where
the last part begins. Gradients accumulate over the parts, so the cut affects only the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Tokens that cost as much as one more part. CPU: 13 ms against 0.22 ms a token (MiniLM of 3 layers on 2 cores);
# on GPUs the launches matter more, because tokens are cheap.
CPU_PART_OVERHEAD = 64
DEVICE_PART_OVERHEAD = 2048
MAX_PART_TOKENS = 16_384  # tokens of one part, which bounds the memory for any micro-batch


@dataclass(frozen=True)
class Companion:
    """An input besides the token ids whose values depend only on the position, such as token types.

    ``first`` and ``last`` are the values at the ends of a text, where its special tokens are.
    """

    name: str
    first: tuple[int, ...]
    middle: int
    last: tuple[int, ...]
    padding: int

    def values(self, tokens: int) -> NDArray[np.int64]:
        """Return the values for a text, of shape (tokens,)."""
        values = np.full(tokens, self.middle, dtype=np.int64)
        values[: len(self.first)] = self.first[:tokens]
        if self.last:
            values[-len(self.last) :] = self.last[-tokens:]
        return values


@dataclass(frozen=True)
class Layout:
    """How the token ids of several texts become the inputs of a model.

    ``side`` is where shorter texts are padded with the id ``padding``; with ``none`` only texts of one length go
    together. ``mask`` says whether the model takes an attention mask.
    """

    padding: int
    side: Literal["right", "left", "none"] = "right"
    mask: bool = True
    companions: tuple[Companion, ...] = ()


@dataclass(frozen=True)
class Part:
    """Texts that go through the model together.

    ``rows`` are their indices in the micro-batch; ``input_ids``, ``attention_mask`` and each of ``companions`` are of
    shape (texts, tokens).
    """

    rows: list[int]
    input_ids: Tensor
    attention_mask: Tensor
    companions: dict[str, Tensor] = field(default_factory=dict)


def cut(
    lengths: Sequence[int],
    *,
    overhead: int = CPU_PART_OVERHEAD,
    most: int = MAX_PART_TOKENS,
    padded: bool = True,
) -> list[list[int]]:
    """Return the rows of each part, by the cheapest cut.

    Parameters
    ----------
    lengths
        Tokens of each text.
    overhead
        The cost of one more part, in tokens.
    most
        The most tokens, padding included, of a part with several texts.
    padded
        Whether texts of different lengths may go together.

    Examples
    --------
    >>> cut([100, 8, 9, 104], overhead=32)
    [[1, 2], [0, 3]]
    >>> cut([100, 8, 9, 104], overhead=1000)
    [[1, 2, 0, 3]]

    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    best, begins = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        cost, begin = min(
            (best[begin] + (end - begin) * longest + overhead, begin)
            for begin in range(end)
            if begin == end - 1 or ((end - begin) * longest <= most and (padded or lengths[order[begin]] == longest))
        )
        best.append(cost)
        begins.append(begin)
    parts, end = [], len(order)
    while end:
        parts.append(order[begins[end] : end])
        end = begins[end]
    return parts[::-1]


def collate(
    tokens: Sequence[NDArray[np.int32]], layout: Layout, *, device: torch.device, overhead: int | None = None
) -> list[Part]:
    """Lay `tokens`, each of shape (tokens,), out in the parts of the cheapest cut, on `device`.

    ``overhead`` is the cost of one more part, in tokens; by default that on `device`.
    """
    if overhead is None:
        overhead = CPU_PART_OVERHEAD if device.type == "cpu" else DEVICE_PART_OVERHEAD
    parts = []
    for rows in cut([len(ids) for ids in tokens], overhead=overhead, padded=layout.side != "none"):
        longest = len(tokens[rows[-1]])
        input_ids = np.full((len(rows), longest), layout.padding, dtype=np.int64)
        attention_mask = np.zeros((len(rows), longest), dtype=np.int64)
        companions = {c.name: np.full((len(rows), longest), c.padding, dtype=np.int64) for c in layout.companions}
        for index, row in enumerate(rows):
            length = len(tokens[row])
            text = slice(longest - length, None) if layout.side == "left" else slice(length)
            input_ids[index, text] = tokens[row]
            attention_mask[index, text] = 1
            for companion in layout.companions:
                companions[companion.name][index, text] = companion.values(length)
        parts.append(
            Part(
                rows=rows,
                input_ids=torch.from_numpy(input_ids).to(device),
                attention_mask=torch.from_numpy(attention_mask).to(device),
                companions={name: torch.from_numpy(values).to(device) for name, values in companions.items()},
            )
        )
    return parts


def inputs(part: Part, layout: Layout) -> dict[str, Tensor]:
    """Return the arguments for calling a model of this `layout`."""
    mask = {"attention_mask": part.attention_mask} if layout.mask else {}
    return {"input_ids": part.input_ids, **mask, **part.companions}
