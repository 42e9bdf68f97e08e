"""Combines the experts' predictions: log-linear pooling of calibrated experts, with learnt weights.

p ∝ exp(Σₑ wₑ · log pₑ + b), where each expert's probabilities are first calibrated by a temperature, and b is a bias
per label, which follows the current label frequencies: experts with a memory lag behind when these change. Weights,
biases and temperatures follow their own prequential loss, one gradient step per micro-batch; the loss is convex in
weights and biases. The weight of a useless expert goes to 0, that of one that is systematically wrong below 0. Events
whose label no expert had learnt before teach nothing about the experts: they would only count against those with the
best memory.

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

RATE = 0.03  # learning rate of the weights; .02 to .05 are as good
SURPRISED = 3.0  # at most this many times larger while the gradient of the weights is unusually large: after a switch
USUAL = 0.005  # share of the newest micro-batch in the moving mean of the gradient's length
TEMPERATURE_RATE = 0.1
AT_START = 2.0  # initial sum of the weights: with a sum of 1, experts that know little are too unsure together
BIAS_RATE = 0.005  # learning rate of the biases
LAST_RATE = 0.05  # rate of the mixture's temperature, which changes no predicted label, only the confidence
AT_FIRST, FADING = (0.1, 0.9), 10  # added to the rates at first, and the steps after which half of it is left; without
# it an expert that is sure and wrong costs half a point of four thousand events, with it less than .2
SHARPEST, FLATTEST = 0.02, 50.0  # temperatures
SMALL = 1e-3  # a gradient below it changes the weights by less than the rate
NEWEST = 0.02  # share of the newest micro-batch in the moving mean of a loss
JUDGED = 10  # micro-batches before an expert is left out or comes back
RUNAWAY = 1.0  # nats above the loss of guessing: temperatures alone keep any loss near that, unless it keeps growing
LOUDEST = 4.0  # nats above it, the cap on a loss: a drift makes losses large, but temperatures adapt within fifty steps


class Pool:
    """Pools the predictions of several experts, and learns the parameters of the pooling.

    A failing expert is left out until it is better than guessing: one that had to restart because it was not finite,
    and one whose loss has grown beyond what its temperature can make up for.

    Parameters
    ----------
    experts
        How many experts there are.

    Attributes
    ----------
    left_out
        Why each expert is left out; empty for those that are not.

    """

    def __init__(self, experts: int) -> None:
        self._weights = torch.full((experts,), AT_START / experts, dtype=torch.float64)
        self._logarithms = torch.zeros(experts, dtype=torch.float64)  # logarithms of the temperatures
        self._biases = torch.zeros(0).double()  # of shape (labels,), for the labels learnt so far
        self._last = 0.0  # the logarithm of the mixture's temperature
        self._met = torch.zeros(0, dtype=torch.bool)  # whether each label has been learnt, of shape (labels,)
        self._length = 0.0  # moving mean of the length of the weights' gradient
        self._losses = torch.zeros(experts, dtype=torch.float64)  # moving means of their calibrated losses
        self._ages = [0] * experts  # micro-batches since each expert started
        self._steps = 0
        self.left_out: list[str] = [""] * experts

    @property
    def weights(self) -> list[float]:
        """The weight of each expert; weights need not sum to 1 or be positive. 0 for an expert that is left out."""
        return self._weights.tolist()

    def predict(self, each: Sequence[Tensor]) -> Tensor:
        """Return the pooled log-probabilities; each expert's are of shape (texts, labels), and so are these.

        An expert counts for a text only if its prediction is finite. If no expert's is, the result is not finite
        either.
        """
        silent = torch.stack([~torch.isfinite(one).all(-1) for one in each]).all(0)
        pooled = (self._pooled(self._tempered(_stacked(each))) / math.exp(self._last)).log_softmax(-1)
        pooled[silent] = math.nan
        return pooled

    def learn(self, each: Sequence[Tensor], targets: Sequence[int]) -> list[float]:
        """Learn from the loss of what :meth:`predict` returns for the same input, with the labels in columns `targets`.

        Returns the mean calibrated loss of each expert, in nats, over events whose label was known before; 0 if there
        are none.
        """
        labels, known = each[0].shape[-1], self._meet(targets, each[0].shape[-1])
        if not known or labels < 2:  # noqa: PLR2004 - there is nothing to be right about
            return [0.0] * len(each)
        stacked, rows = _stacked(each)[:, known], range(len(known))
        targets = [targets[index] for index in known]
        tempered = self._tempered(stacked)
        pooled = self._pooled(tempered)
        self._calibrate(pooled, targets)
        missed = pooled.exp()
        missed[rows, targets] -= 1.0
        slope = (_centred(tempered) * missed).sum(-1).mean(-1) * self._heard()
        self._biases = self._offsets(labels) - BIAS_RATE * missed.mean(0)
        missed_by = tempered.exp()
        missed_by[:, rows, targets] -= 1.0
        slopes = -(missed_by * stacked * self._inverse()).sum(-1).mean(-1)
        losses = -tempered[:, rows, targets].mean(-1)
        fading = 1.0 / (1.0 + self._steps / FADING)
        self._steps += 1
        length = float(slope.norm())
        rate, own_rate = RATE * self._surprise(length) + AT_FIRST[0] * fading, TEMPERATURE_RATE + AT_FIRST[1] * fading
        self._weights = self._weights - rate * slope / (length + SMALL)
        moved = self._logarithms - own_rate * slopes / (slopes.abs() + 1.0)
        self._logarithms = moved.clamp(math.log(SHARPEST), math.log(FLATTEST))
        self._judge(losses, math.log(labels))
        return losses.tolist()

    def _meet(self, targets: Sequence[int], labels: int) -> list[int]:
        """Return the indices of those of `targets` that have been learnt before, and mark all of them as learnt."""
        self._met = torch.cat([self._met, self._met.new_zeros(labels - len(self._met))])
        known = self._met[list(targets)].nonzero().flatten().tolist()
        self._met[list(targets)] = True
        return list(known)

    def _surprise(self, length: float) -> float:
        """Return the factor on the rate for a gradient of this `length`, and update its moving mean."""
        usual = self._length or length
        self._length = usual + max(USUAL, 1.0 / self._steps) * (length - usual)
        return min(max(length / (usual + SMALL), 1.0), SURPRISED)

    def _calibrate(self, pooled: Tensor, targets: Sequence[int]) -> None:
        """Let the mixture's temperature follow the loss of `pooled`: together, weights tend to grow too large."""
        temperature = math.exp(self._last)
        missed = (pooled / temperature).softmax(-1)
        missed[range(len(targets)), targets] -= 1.0
        slope = -float((missed * pooled).sum(-1).mean()) / temperature
        moved = self._last - LAST_RATE * slope / (abs(slope) + 1.0)
        self._last = min(max(moved, math.log(SHARPEST)), math.log(FLATTEST))

    def _judge(self, losses: Tensor, guessing: float) -> None:
        """Leave out experts whose loss has run away, and readmit those whose loss is below that of `guessing`."""
        self._ages = [age + 1 for age in self._ages]
        share = torch.tensor([max(NEWEST, 1.0 / age) for age in self._ages], dtype=torch.float64)
        self._losses = self._losses + share * (losses.clamp(max=guessing + LOUDEST) - self._losses)
        for expert, (loss, age) in enumerate(zip(self._losses.tolist(), self._ages, strict=True)):
            if age < JUDGED:
                continue
            if self.left_out[expert] and loss < guessing:
                self.left_out[expert] = ""
            elif not self.left_out[expert] and loss > guessing + RUNAWAY:
                self.leave_out(expert, "runaway")

    def leave_out(self, expert: int, reason: str, *, anew: bool = False) -> None:
        """Leave `expert` out for a `reason` until it is better than guessing; `anew` if it has restarted."""
        self.left_out[expert] = reason
        self._weights[expert] = 0.0
        if anew:
            self._logarithms[expert] = self._losses[expert] = 0.0
            self._ages[expert] = 0

    def _heard(self) -> Tensor:
        """Return 1 for each expert that takes part, and 0 for the others."""
        return torch.tensor([0.0 if reason else 1.0 for reason in self.left_out], dtype=torch.float64)

    def _inverse(self) -> Tensor:
        return torch.exp(-self._logarithms)[:, None, None]

    def _tempered(self, stacked: Tensor) -> Tensor:
        return (stacked * self._inverse()).log_softmax(-1)

    def _pooled(self, tempered: Tensor) -> Tensor:
        voices = (self._weights[:, None, None] * _centred(tempered)).sum(0)
        return (voices + self._offsets(tempered.shape[-1])).log_softmax(-1)

    def _offsets(self, labels: int) -> Tensor:
        """Return the bias of each of `labels` labels, 0 for those that have not been learnt from yet."""
        return torch.cat([self._biases, self._biases.new_zeros(labels - len(self._biases))])

    def state(self) -> State:
        """Return everything that has been learnt about the experts and the labels."""
        return {
            "weights": self._weights.clone(),
            "temperatures": self._logarithms.clone(),
            "biases": self._biases.clone(),
            "met": self._met.clone(),
            "length": self._length,
            "last_temperature": self._last,
            "losses": self._losses.clone(),
            "ages": list(self._ages),
            "steps": self._steps,
            "left_out": list(self.left_out),
        }

    def load(self, state: State, indices: Sequence[int | None]) -> None:
        """Continue from `state`, where the experts have these `indices`; experts that it does not have start over."""
        self._steps, self._last = state["steps"], state["last_temperature"]
        self._biases, self._met, self._length = state["biases"].clone(), state["met"].clone(), state["length"]
        for expert, index in enumerate(indices):
            if index is not None:
                self._weights[expert], self._logarithms[expert] = state["weights"][index], state["temperatures"][index]
                self._losses[expert], self._ages[expert] = state["losses"][index], state["ages"][index]
                self.left_out[expert] = state["left_out"][index]


def _stacked(each: Sequence[Tensor]) -> Tensor:
    """Return the experts' log-probabilities stacked, of shape (experts, texts, labels), non-finite rows made neutral.

    A row with any non-finite value becomes uniform, as if that expert could not tell the labels apart.
    """
    stacked = torch.stack([one.to(torch.float64) for one in each])
    return torch.where(torch.isfinite(stacked).all(-1, keepdim=True), stacked, torch.zeros(()).double())


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(-1, keepdim=True)
