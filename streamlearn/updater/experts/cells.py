"""Tables with a number for each n-gram and label, whose size is fixed, however many n-grams and labels there are.

N-gram and label together are hashed to a cell, as Vowpal Wabbit does (Langford et al., 2007). So the order in which
labels appear does not matter, and memory and checkpoints have a fixed size.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from streamlearn.state import State
from streamlearn.updater.ngrams import ONE, SECOND

CELL_BITS = 22  # four million: up to four labels a million n-grams share no more cells than they share hashes

Cells = NDArray[np.int64]
"""Indices into a table, of shape (n-grams, labels)."""


def code(label: str) -> np.uint64:
    """Return the number that stands for a label."""
    return np.uint64(zlib.crc32(label.encode(errors="surrogatepass")))


def cells(hashes: NDArray[np.int64], codes: Sequence[np.uint64]) -> Cells:
    """Return the cell of each of the n-grams, of shape (n-grams,), under each of the labels."""
    mixed = (hashes.astype(np.uint64)[:, None] + np.asarray(codes, dtype=np.uint64)[None, :] * SECOND) * ONE
    return (mixed >> np.uint64(64 - CELL_BITS)).astype(np.int64)


def new_table() -> NDArray[np.float32]:
    """Return a table of zeros."""
    return np.zeros(2**CELL_BITS, dtype=np.float32)


def table_state(table: NDArray[np.float32]) -> State:
    """Return the cells of `table` that are not 0, and their values."""
    used = np.flatnonzero(table)
    return {"cells": torch.from_numpy(used.astype(np.int32)), "values": torch.from_numpy(table[used])}


def load_table(table: NDArray[np.float32], state: State) -> None:
    """Fill `table` from `state`."""
    table[:] = 0.0
    table[state["cells"].numpy()] = state["values"].numpy()
