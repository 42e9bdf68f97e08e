"""Learners of other kinds, each as its own users would set it up, beside which streamlearn is measured.

Each file has one: what it is set to, what else was tried (``python -m benchmarks.tuning`` tries it again), and how it
predicts and learns. All are told the labels before the stream begins, as some of them must be.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamlearn.errors import ConfigurationError

PEERS = ("river_naive_bayes", "river_softmax", "vowpal_wabbit", "scikit_learn", "frozen_softmax", "tutorial_loop")
"""Their names, which are those of their files; each has ``SETTINGS``, ``TRIED`` and ``Learner``."""


class Peer(Protocol):
    """A learner of labels; it is made of the labels, sorted, and its settings."""

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each label, of shape (texts, labels), and learn nothing."""
        ...

    def learn(self, texts: Sequence[str], targets: Sequence[int]) -> None:
        """Learn `texts`, whose labels have the indices `targets`."""
        ...


def module(name: str) -> ModuleType:
    """Return the file of the peer `name`; its libraries are imported only now.

    Raises
    ------
    ConfigurationError
        If one of them is not installed.

    """
    try:
        return importlib.import_module(f"benchmarks.peers.{name}")
    except ModuleNotFoundError as error:
        needs = f"the peer '{name}' needs {error.name}"
        raise ConfigurationError(f"{needs}; pip install 'streamlearn[peers]' brings it") from None


def make(name: str, labels: Sequence[str], settings: Mapping[str, Any] | None = None) -> Peer:
    """Return the peer `name` with its own settings, or with `settings` in the place of some of them."""
    found = module(name)
    peer: Peer = found.Learner(list(labels), {**found.SETTINGS, **(settings or {})})
    return peer
