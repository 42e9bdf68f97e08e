"""How the experts' predictions become one: log-linear pooling of calibrated experts, with weights that learn.

p ∝ exp(Σₑ wₑ · log pₑ), where each expert's probabilities are first tempered to be as sure as it should be. Weights and
temperatures each follow their own prequential loss, one normalised step a micro-batch; the loss is convex in the
weights. An expert of no use comes to weigh 0, and one that is wrong less than that.

References
----------
Mattern, C. (2012). Mixing strategies in data compression. DCC: geometric mixing; Mahoney, M. (2005). Adaptive weighing
of context models for lossless data compression (PAQ). Guo, C. et al. (2017). On calibration of modern neural networks.
ICML: temperature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from streamlearn.state import State

RATE = 0.03  # of the weights; .02 to .05 are as good
TEMPERATURE_RATE = 0.1
AT_FIRST, FADING = (0.1, 0.9), 10  # what is added to the rates, and the steps after which half of it is left: until
# then an expert that is sure and wrong would cost half a point of four thousand events, and so costs less than .2
SHARPEST, FLATTEST = 0.02, 50.0  # temperatures
SMALL = 1e-3  # a gradient below it moves the weights by less than the rate


class Pool:
    """Pools the predictions of several experts, and learns how.

    Parameters
    ----------
    experts
        How many there are.

    """

    def __init__(self, experts: int) -> None:
        self._weights = torch.full((experts,), 1.0 / experts, dtype=torch.float64)
        self._logarithms = torch.zeros(experts, dtype=torch.float64)  # of the temperatures
        self._steps = 0

    @property
    def weights(self) -> list[float]:
        """The weight of each expert; they need not add up to 1, nor be positive."""
        return self._weights.tolist()

    def predict(self, each: Sequence[Tensor]) -> Tensor:
        """Return the pooled log-probabilities; each expert's are of shape (texts, labels), and so are these."""
        return self._pooled(self._tempered(_stacked(each)))

    def learn(self, each: Sequence[Tensor], targets: Sequence[int]) -> None:
        """Follow the loss of the predictions of :meth:`predict` of the same, whose labels are in columns `targets`."""
        if not len(targets) or each[0].shape[-1] < 2:  # noqa: PLR2004 - there is nothing to be right about
            return
        stacked, rows = _stacked(each), range(len(targets))
        tempered = self._tempered(stacked)
        missed = self._pooled(tempered).exp()
        missed[rows, targets] -= 1.0
        slope = (_centred(tempered) * missed).sum(-1).mean(-1)
        missed_by = tempered.exp()
        missed_by[:, rows, targets] -= 1.0
        slopes = -(missed_by * stacked * self._inverse()).sum(-1).mean(-1)
        fading = 1.0 / (1.0 + self._steps / FADING)
        rate, own_rate = RATE + AT_FIRST[0] * fading, TEMPERATURE_RATE + AT_FIRST[1] * fading
        self._steps += 1
        self._weights = self._weights - rate * slope / (slope.norm() + SMALL)
        moved = self._logarithms - own_rate * slopes / (slopes.abs() + 1.0)
        self._logarithms = moved.clamp(math.log(SHARPEST), math.log(FLATTEST))

    def _inverse(self) -> Tensor:
        return torch.exp(-self._logarithms)[:, None, None]

    def _tempered(self, stacked: Tensor) -> Tensor:
        return (stacked * self._inverse()).log_softmax(-1)

    def _pooled(self, tempered: Tensor) -> Tensor:
        return (self._weights[:, None, None] * _centred(tempered)).sum(0).log_softmax(-1)

    def state(self) -> State:
        """Return the weights, the logarithms of the temperatures, and how often they have moved."""
        return {"weights": self._weights.clone(), "temperatures": self._logarithms.clone(), "steps": self._steps}

    def load(self, state: State, indices: Sequence[int | None]) -> None:
        """Continue from `state`, in which the experts stand at `indices`; those that it does not know start over."""
        self._steps = state["steps"]
        for expert, index in enumerate(indices):
            if index is not None:
                self._weights[expert], self._logarithms[expert] = state["weights"][index], state["temperatures"][index]


def _stacked(each: Sequence[Tensor]) -> Tensor:
    """Return the experts' log-probabilities as one, of shape (experts, texts, labels); what is not finite says nothing.

    That is a row of which any value is not finite: it is as if that expert knew no better than any label.
    """
    stacked = torch.stack([one.to(torch.float64) for one in each])
    return torch.where(torch.isfinite(stacked).all(-1, keepdim=True), stacked, torch.zeros(()).double())


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(-1, keepdim=True)
