"""Online EWC: R = ½ Σ F (θ − θ*)², so that ∇R = F (θ − θ*): important weights are held where they were.

Every hundred steps count as a task. At its end θ* is set to θ, and F ← γF + F̂, where F̂ is the diagonal of the Fisher
information, estimated from the gradients of the task's own steps, on fresh and replayed texts alike: the mean of n g²
over steps whose gradient g is the mean over n texts. So it costs no further pass (as in Chaudhry et al.), and the
estimate is part of the state.

Use it if replay is not possible or allowed (``updater.replay_ratio: 0``), what was learnt must last, and the stream is
long: in one of a thousand events it changed next to nothing (benchmarks/results/regularizers.json). With replay it adds
little. It also holds on to what has become wrong: after a switch of what labels mean it slows adaptation down. It takes
three copies of the trained parameters, in memory and in each checkpoint.

References
----------
Kirkpatrick, J. et al. (2017). Overcoming catastrophic forgetting in neural networks. PNAS. Schwarz, J. et al. (2018).
Progress & compress: a scalable framework for continual learning. ICML: the online form. Chaudhry, A. et al. (2018).
Riemannian walk for incremental learning. ECCV: F from the steps' own gradients.

"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from streamlearn.state import State
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer, trained

STEPS = 100  # per task
KEPT = 0.95  # γ
MOST = 1e10  # cap on F, so that the pull stays finite for any gradient

Weights = dict[str, Tensor]


class OnlineEWC(Regularizer):
    """Pulls each weight towards its value after the last task, in proportion to its importance.

    Parameters
    ----------
    strength
        λ.
    model
        The model whose weights are pulled, including the head's. A new label has no F until it has been learnt.

    """

    name: ClassVar[str] = "ewc"
    default: ClassVar[float] = 1.0

    def __init__(self, strength: float, model: PreTrainedModel) -> None:
        super().__init__(strength)
        self._model = model
        self._squares: Weights = {}
        self.restart()

    def restart(self) -> None:
        """Start again with the first task."""
        self._steps = 0
        self._fisher: Weights = {}
        self._anchor: Weights = {}
        self._sum: Weights = {}
        self.drop()

    def prepare(self, texts: int) -> None:
        """Square ∇L."""
        gradients = {name: p.grad for name, p in trained(self._model).items() if p.grad is not None}
        self._squares = {name: texts * gradient**2 for name, gradient in gradients.items()}

    def gradients(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Return F (θ − θ*); nothing during the first task."""
        for name, parameter in trained(self._model).items():
            if name in self._fisher:
                fisher, anchor = (_fitted(one[name], parameter) for one in (self._fisher, self._anchor))
                yield parameter, fisher * (parameter.detach() - anchor)

    def apply(self) -> None:
        """Add the squares to F̂, and end the task if it has had all its steps."""
        for name, squares in self._squares.items():
            total = self._sum.get(name)
            self._sum[name] = squares if total is None else _fitted(total, squares).add_(squares)
        self.drop()
        self._steps += 1
        if self._steps % STEPS:
            return
        for name, parameter in trained(self._model).items():
            if name in self._sum:
                estimated, before = self._sum[name] / STEPS, self._fisher.get(name)
                whole = estimated if before is None else KEPT * _fitted(before, estimated) + estimated
                self._fisher[name] = whole.clamp_(max=MOST)
                self._anchor[name] = parameter.detach().clone()
        self._sum = {}

    def drop(self) -> None:
        """Discard the squares."""
        self._squares = {}

    def state(self) -> State:
        """Return F, θ*, and the running sum for the next F̂."""
        parts = {"fisher": self._fisher, "anchor": self._anchor, "sum": self._sum}
        copies = {part: {n: v.to("cpu", copy=True) for n, v in weights.items()} for part, weights in parts.items()}
        return {"steps": self._steps, **copies}

    def load(self, state: State) -> None:
        """Continue from `state`, for the parameters that train now."""
        names, device = trained(self._model), next(self._model.parameters()).device
        self._steps = state["steps"]
        self._fisher, self._anchor, self._sum = (
            {name: value.to(device, copy=True) for name, value in state[part].items() if name in names}
            for part in ("fisher", "anchor", "sum")
        )


def _fitted(value: Tensor, like: Tensor) -> Tensor:
    """Return `value` with as many rows as `like`, 0 for newer labels."""
    if value.shape == like.shape:
        return value
    rows = min(len(value), len(like))
    fitted = torch.zeros_like(like)
    fitted[:rows] = value[:rows]
    return fitted
