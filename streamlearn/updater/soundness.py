"""Which predictions are valid probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

NORMAL_WITHIN = 1e-3  # tolerance for sums of probabilities: far more than the rounding error with a thousand labels


def sound(log_probabilities: Tensor) -> list[bool]:
    """Return for each row of `log_probabilities`, of shape (events, labels), whether it is finite and sums to 1."""
    finite = torch.isfinite(log_probabilities).all(-1)
    normal = log_probabilities.logsumexp(-1).abs() < NORMAL_WITHIN
    rows: list[bool] = (finite & normal).tolist()
    return rows
