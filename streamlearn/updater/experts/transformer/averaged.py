"""The transformer's weights averaged over its last steps, which smooths out the effect of single events.

It is more stable than the transformer with noisy labels, and slower after a switch; the mixture weights it accordingly.

References
----------
Polyak, B. and Juditsky, A. (1992). Acceleration of stochastic approximation by averaging. SIAM J. Control Optim. 30;
here an exponential average, as of teachers by Tarvainen and Valpola (2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.state import State
from streamlearn.updater.experts.expert import Gradients
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.forward import copy_of
from streamlearn.updater.experts.transformer.head import grow_head, output_layer, shrink_head
from streamlearn.updater.experts.transformer.lora import is_factor, merged
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.randomness import OwnRandom

KEPT = 0.99  # share of the average kept at each step; less in the first steps, so that the start has no lasting effect


class AveragedTransformer:
    """Predicts with the average of the transformer's weights, updated after each step.

    Parameters
    ----------
    config
        Only its seed is read.
    labels
        The names of the labels known from the start.
    backbone
        Its model is the one that the transformer expert trains, which comes first in the mixture.

    """

    name: ClassVar[str] = "averaged"
    reads: ClassVar[frozenset[Feature]] = frozenset()
    replays: ClassVar[bool] = False

    def __init__(self, config: UpdaterConfig, labels: Sequence[str], backbone: Backbone) -> None:
        self.columns: list[str] = list(labels)
        self.random = OwnRandom(config.seed, backbone.device)
        self._backbone = backbone
        self._steps = 0
        self._copy()

    def _copy(self) -> None:
        """Start from the transformer's current weights; those that do not train are shared."""
        self._forward = copy_of(self._backbone)
        self._model = self._forward.model
        self._of = -1

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels), NaN for a text on which the model raises."""
        log_probabilities, _ = self._forward.predict_each(encoded.tokens, columns=len(self.columns))
        return log_probabilities

    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> Gradients:
        """Predict the texts; learning is left to the transformer."""
        del weights, apart
        log_probabilities = self.predict(encoded)
        return Gradients(log_probabilities, -log_probabilities[range(len(targets)), list(targets)])

    def apply(self, gradients: Gradients) -> None:
        """Move towards the transformer's weights, which have just moved."""
        del gradients
        self._steps += 1
        kept = min(KEPT, self._steps / (self._steps + 9.0))
        own, theirs = self._pairs()
        with torch.no_grad():
            torch._foreach_lerp_(own, theirs, 1.0 - kept)

    def drop(self) -> None:
        """Do nothing: nothing has been prepared."""

    def grow(self, name: str) -> None:
        """Add the column for the label `name` that the transformer has added."""
        if self.columns:
            with self.random:  # the row that is drawn is not kept, but torch's own generator must not move
                grow_head(self._model, 1)
            self._model.requires_grad_(False)
            own, theirs = output_layer(self._model)[2], output_layer(self._backbone.model)[2]
            with torch.no_grad():
                for one, other in zip(own.parameters(), theirs.parameters(), strict=True):
                    one[-1] = other[-1]
        self.columns.append(name)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`."""
        if len(self.columns) > max(1, count):
            with self.random:
                shrink_head(self._model, max(1, count))
            self._model.requires_grad_(False)
        del self.columns[count:]

    def restart(self) -> None:
        """Start over from the transformer's current weights."""
        self._steps = 0
        self._copy()

    @property
    def finite(self) -> bool:
        """Whether the averages are finite."""
        own, _ = self._pairs()
        return math.isfinite(float(torch.nn.utils.get_total_norm(own)))

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the averages and the corresponding parameters of the transformer, as long as it has the same head."""
        if self._of != self._backbone.heads:
            self._of = self._backbone.heads
            trained = [(name, p) for name, p in self._backbone.model.named_parameters() if p.requires_grad]
            own = dict(self._model.named_parameters())
            self._names = [name for name, _ in trained]
            self._own = [own[name].data for name in self._names]
            self._theirs = [parameter.data for _, parameter in trained]
        return self._own, self._theirs

    def _averages(self) -> dict[str, Tensor]:
        """Return the averaged tensors, by name."""
        own, _ = self._pairs()
        return dict(zip(self._names, own, strict=True))

    def state(self) -> State:
        """Return the averaged weights, and the number of steps in them."""
        weights = {name: value.detach().to("cpu", copy=True) for name, value in self._averages().items()}
        return {"columns": list(self.columns), "steps": self._steps, "weights": weights}

    def merged(self, state: State) -> State:
        """Return `state`, made just now, with the weights that compute in the place of adapters and what they adapt."""
        rest = {name: value for name, value in state["weights"].items() if not is_factor(name)}
        return state | {"weights": rest | dict(merged(self._model))}

    def load(self, state: State) -> None:
        """Continue from `state`, growing to its labels.

        Weights that did not train when it was made start from the transformer's, which is loaded first.
        """
        for name in state["columns"][len(self.columns) :]:
            self.grow(name)
        self.columns, self._steps = list(state["columns"]), state["steps"]
        with torch.no_grad():
            own, theirs = self._pairs()
            for name, average, beginning in zip(self._names, own, theirs, strict=True):
                average.copy_(state["weights"].get(name, beginning))
