"""Which predictions can be believed to be probabilities at all."""

from __future__ import annotations

import torch
from torch import Tensor

NORMAL_WITHIN = 1e-3  # of 1, that probabilities add up to: far more than rounding costs with a thousand labels


def sound(log_probabilities: Tensor) -> list[bool]:
    """Return of each row of `log_probabilities`, of shape (events, labels), whether it is finite and adds up to 1."""
    finite = torch.isfinite(log_probabilities).all(-1)
    normal = log_probabilities.logsumexp(-1).abs() < NORMAL_WITHIN
    rows: list[bool] = (finite & normal).tolist()
    return rows
