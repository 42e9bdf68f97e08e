"""The step θ_t = θ_{t−1} − η∇(L + λR): the optimisers, the rate's schedule and the clipping.

R is ½‖θ‖² over the matrices; biases and normalisation gains are not pulled to zero. With SGD its gradient λθ is added
to ∇L, as the formula says; with AdamW the decay is decoupled from the adaptive scaling (Loshchilov and Hutter, 2019),
which is what λR means there. Of embeddings with row-sparse gradients only the rows of tokens that occurred are updated,
without decay.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from streamlearn.config import Updater
from streamlearn.state import State
from streamlearn.updater.experts.transformer.trainable import Trainable

SHAPING = ("optimizer", "trains", "embeddings")
"""The settings that determine which moments there are."""

HEAD_RATE = 10.0  # times the configured rate, by default: the head starts untrained
FEW_RATE = {"bias": 10.0, "lora": 10.0}  # times the rate for the body: few trained parameters have to move further

log = logging.getLogger(__name__)


class Optimizer:
    """Torch optimisers over the trained parameters, with warm-up, decay and clipping.

    Parameters
    ----------
    trainable
        The trained parameters by part.
    config
        ``optimizer``, rates, ``weight_decay``, ``clip_norm`` and the schedule.

    Attributes
    ----------
    fixed
        The factor of the rates in place of the schedule's, or None.

    """

    def __init__(self, trainable: Trainable, config: Updater) -> None:
        self._config = config
        self._steps = 0
        self.fixed: float | None = None
        self._body_rate = config.learning_rate * FEW_RATE.get(config.trains, 1.0)
        self._dense = self._make_dense(trainable)
        self._sparse = self._make_sparse(trainable.sparse)
        self._rates = [group["lr"] for group in self._groups()]

    def _make_dense(self, trainable: Trainable) -> torch.optim.Optimizer:
        config = self._config
        head_rate = config.head_learning_rate or HEAD_RATE * config.learning_rate
        groups = []
        for rate, parameters in ((self._body_rate, trainable.body), (head_rate, trainable.head)):
            for decay, matrices in ((config.weight_decay, True), (0.0, False)):
                members = [p for p in parameters if (p.ndim > 1) == matrices]
                if members:
                    groups.append({"params": members, "lr": rate, "weight_decay": decay})
        if config.optimizer == "sgd":
            return torch.optim.SGD(groups, fused=True)
        return torch.optim.AdamW(groups, fused=True)

    def _make_sparse(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer | None:
        if not parameters:
            return None
        if self._config.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self._config.learning_rate)
        return torch.optim.SparseAdam(parameters, lr=self._config.learning_rate)

    @property
    def steps(self) -> int:
        """How many steps have been applied."""
        return self._steps

    @property
    def rate(self) -> float:
        """The body's learning rate η of the next step."""
        return self._body_rate * self.factor

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self._dense] if self._sparse is None else [self._dense, self._sparse]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self._optimizers() for group in optimizer.param_groups]

    def _parameters(self) -> Iterable[Tensor]:
        for group in self._groups():
            yield from group["params"]

    @property
    def factor(self) -> float:
        """What the schedule multiplies the rates by: a linear warm-up, then 1 or the inverse square root of the steps.

        It is `fixed` where that is set.
        """
        if self.fixed is not None:
            return self.fixed
        step, warmup = self._steps + 1, self._config.warmup_steps
        if step <= warmup:
            return step / warmup
        return 1.0 if self._config.decay == "constant" else math.sqrt(max(1, warmup) / step)

    def _shaping(self) -> dict[str, str]:
        return {name: getattr(self._config, name) for name in SHAPING}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._optimizers():
            optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> float:
        """Return the norm of the whole gradient before clipping."""
        return float(torch.nn.utils.get_total_norm(self._gradients()))

    def parameter_norm(self) -> float:
        """Return the norm of the trained parameters."""
        return float(torch.nn.utils.get_total_norm([parameter.detach() for parameter in self._parameters()]))

    def _gradients(self) -> list[Tensor]:
        gradients = []
        for parameter in self._parameters():
            if parameter.grad is None:
                continue
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
                gradients.append(parameter.grad._values())  # noqa: SLF001 - its rows, where values() is a copy
            else:
                gradients.append(parameter.grad)
        return gradients

    def step(self, norm: float) -> None:
        """Clip the gradient, whose norm is `norm`, and apply it."""
        limit = self._config.clip_norm
        if limit and norm > limit:
            torch._foreach_mul_(self._gradients(), limit / norm)
        for group, rate in zip(self._groups(), self._rates, strict=True):
            group["lr"] = rate * self.factor
        for optimizer in self._optimizers():
            optimizer.step()
        self.zero_grad()
        self._steps += 1

    def replace(self, old: nn.Parameter, new: nn.Parameter) -> None:
        """Replace `old` by `new`, which has more or fewer rows; rows in both keep their moments."""
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["params"] = [new if p is old else p for p in group["params"]]
            moments = optimizer.state.pop(old, None)
            if moments:
                optimizer.state[new] = {name: _fitted(value, old, new) for name, value in moments.items()}

    def state(self) -> State:
        """Return the moments of each optimiser, copied, and the number of steps applied."""
        return {
            "steps": self._steps,
            "settings": self._shaping(),
            "optimizers": [
                {
                    str(index): {name: copy.deepcopy(value) for name, value in moments.items()}
                    for index, moments in optimizer.state_dict()["state"].items()
                }
                for optimizer in self._optimizers()
            ],
        }

    def load(self, state: State) -> None:
        """Continue from `state`; its moments are used if they are of the same optimiser and parameters."""
        self._steps = state["steps"]
        changed = [name for name, value in self._shaping().items() if state["settings"][name] != value]
        if changed:
            names = ", ".join(f"updater.{name}" for name in changed)
            log.warning("%s changed since the checkpoint: the moments of the optimiser start over", names)
            return
        for optimizer, saved in zip(self._optimizers(), state["optimizers"], strict=True):
            moments = {int(index): dict(values) for index, values in saved.items()}
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _fitted(value: Tensor, old: nn.Parameter, new: nn.Parameter) -> Tensor:
    if value.shape != old.shape:
        return value
    rows = min(len(old), len(new))
    fitted = torch.zeros_like(new)
    fitted[:rows] = value[:rows]
    return fitted
