"""Online EWC: R = ½ Σ F (θ − θ*)², so that ∇R = F (θ − θ*): weights that mattered are held where they were.

Every hundred steps count as a task. When one ends, θ* is where it has led, and F ← γF + F̂, where F̂ is the diagonal of
the Fisher information, estimated from the gradients that the task's own steps have made, fresh and replayed texts
alike: the mean of n g² over steps whose gradient g is the mean over n texts. So it costs no further pass (as in
Chaudhry et al.), and what was estimated is a part of the state.

Use it where replay is not possible or allowed (``updater.replay_ratio: 0``), and what was learnt must last. With
replay it adds little: what is replayed defends itself. It holds on to what is wrong as well: after a switch of what
labels mean it slows the change down. It takes three copies of what trains, in memory and in each checkpoint.

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

STEPS = 100  # that count as a task
KEPT = 0.95  # γ
MOST = 1e10  # of F, so that no gradient makes a pull that is not finite

Weights = dict[str, Tensor]


class OnlineEWC(Regularizer):
    """Pulls each weight towards where the last task left it, by how much it has mattered.

    Parameters
    ----------
    strength
        λ.
    model
        Whose weights, the head's among them. A label that comes later has no F until it has been learnt.

    """

    name: ClassVar[str] = "ewc"
    default: ClassVar[float] = 1.0

    def __init__(self, strength: float, model: PreTrainedModel) -> None:
        super().__init__(strength)
        self._model = model
        self._squares: Weights = {}
        self.restart()

    def restart(self) -> None:
        """Begin with the first task again."""
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
        """Return F (θ − θ*), nothing during the first task."""
        for name, parameter in trained(self._model).items():
            if name in self._fisher:
                fisher, anchor = (_fitted(one[name], parameter) for one in (self._fisher, self._anchor))
                yield parameter, fisher * (parameter.detach() - anchor)

    def apply(self) -> None:
        """Take the squares into F̂, and end the task where it has had its steps."""
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
        """Forget the squares."""
        self._squares = {}

    def state(self) -> State:
        """Return F, θ*, and the sum that is becoming the next F̂."""
        parts = {"fisher": self._fisher, "anchor": self._anchor, "sum": self._sum}
        copies = {part: {n: v.to("cpu", copy=True) for n, v in weights.items()} for part, weights in parts.items()}
        return {"steps": self._steps, **copies}

    def load(self, state: State) -> None:
        """Continue from `state`, as far as it is about what trains now."""
        names, device = trained(self._model), next(self._model.parameters()).device
        self._steps = state["steps"]
        self._fisher, self._anchor, self._sum = (
            {name: value.to(device, copy=True) for name, value in state[part].items() if name in names}
            for part in ("fisher", "anchor", "sum")
        )


def _fitted(value: Tensor, like: Tensor) -> Tensor:
    """Return `value` with as many rows as `like`, those of later labels 0."""
    if value.shape == like.shape:
        return value
    rows = min(len(value), len(like))
    fitted = torch.zeros_like(like)
    fitted[:rows] = value[:rows]
    return fitted
