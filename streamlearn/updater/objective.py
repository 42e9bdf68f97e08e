"""The objective L of a micro-batch: the weighted mean of its losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - its name in the field
from torch import Tensor


class Objective:
    """L = Σᵢ wᵢ ℓᵢ / Σᵢ wᵢ, where ℓᵢ is the cross-entropy of a text; it is computed in parts that add up to it.

    Parameters
    ----------
    targets
        The column of each text's label.
    weights
        The weight of each text, none of them negative; None weights all equally. If all are 0, so is L.
    device
        The device of the logits.

    Examples
    --------
    >>> objective = Objective([0, 1], [3.0, 1.0], device=torch.device("cpu"))
    >>> losses = torch.tensor([1.0, 2.0])
    >>> float(objective.mean(losses, [0, 1]))
    1.25

    """

    def __init__(self, targets: Sequence[int], weights: Sequence[float] | None = None, *, device: torch.device) -> None:
        if weights is None:
            weights = [1.0] * len(targets)
        self._targets = torch.tensor(targets, device=device)
        self._weights = torch.tensor(weights, dtype=torch.float32, device=device)
        self._total = sum(weights) or 1.0

    def losses(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the loss of each of the texts `rows`, of shape (rows,); `logits` is of shape (rows, labels)."""
        return F.cross_entropy(logits, self._targets[rows], reduction="none")

    def mean(self, losses: Tensor, rows: Sequence[int]) -> Tensor:
        """Return the contribution to L of `losses`, of shape (rows,), which are those of the texts `rows`."""
        return (losses * self._weights[rows]).sum() / self._total
