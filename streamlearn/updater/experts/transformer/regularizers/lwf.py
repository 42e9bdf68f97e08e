"""Learning without forgetting: R = T² KL(p' ‖ p), where p' are an earlier copy's predictions, both at T = 2.

For a text with the logits z and z' it covers the labels that the copy knows, so that ∇R by z is T (p − p'). The copy is
of the weights that were published last. When they are published depends on a clock, so the journal records with a step
that the weights before it were submitted for publication, and that those submitted last have been published. Until
then, and where nothing is ever published (``evaluate``, ``finetune``, the library), a copy is made every hundred steps.

Use it if old texts cannot be kept (``updater.replay_ratio: 0``) and what was known must outlast a switch: the model
keeps its predictions for texts like the old ones. On texts unlike any before, the copy's predictions are of little
value, and R slows learning down. It costs another forward pass through the trained layers, and up to two copies of them
in memory and in each checkpoint.

References
----------
Li, Z. and Hoiem, D. (2016). Learning without forgetting. ECCV. Hinton, G., Vinyals, O. and Dean, J. (2015). Distilling
the knowledge in a neural network: the temperature.

"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name in the field
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.state import State
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.batches import Part
from streamlearn.updater.experts.transformer.forward import Forward, copy_of
from streamlearn.updater.experts.transformer.head import output_layer, shrink_head
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer
from streamlearn.updater.randomness import OwnRandom

STEPS = 100  # between two copies while nothing has been published
TEMPERATURE = 2.0


class LearningWithoutForgetting(Regularizer):
    """Pulls the model's predictions towards those of the weights published last.

    Parameters
    ----------
    strength
        λ.
    backbone
        Its model is copied.

    """

    name: ClassVar[str] = "lwf"
    heeds_publications: ClassVar[bool] = True
    default: ClassVar[float] = 1.0

    def __init__(self, strength: float, backbone: Backbone) -> None:
        super().__init__(strength)
        self._backbone = backbone
        self._random = OwnRandom(0, backbone.device)  # draws a copy's smaller head, whose values are then replaced
        self.restart()

    def restart(self) -> None:
        """Wait for the first copy again."""
        self._steps = 0
        self._earlier: Forward | None = None
        self._offered: Forward | None = None
        self._follows = False  # published weights, and no longer makes copies at intervals

    def per_text(self, part: Part, tokens: Sequence[NDArray[np.int32]], logits: Tensor) -> Tensor | None:
        """Return the divergence of each text, or nothing before the first copy."""
        if self._earlier is None:
            return None
        with torch.no_grad():
            earlier = self._earlier.logits(part, tokens)
        return divergence(logits, earlier)

    def apply(self) -> None:
        """Count the step, and make the next copy if it is due and nothing has been published."""
        self._steps += 1
        if self._steps % STEPS == 0 and not self._follows:
            self._earlier = copy_of(self._backbone)

    def offered(self) -> None:
        """Keep a copy of the current weights, which may be published."""
        self._offered = copy_of(self._backbone)

    def published(self) -> None:
        """Use the weights that were submitted last from now on."""
        if self._offered:
            self._earlier, self._offered, self._follows = self._offered, None, True

    def state(self) -> State:
        """Return the steps, and those weights of the copies that the model may change."""
        state: State = {"steps": self._steps}
        if self._follows:
            state["follows"] = True
        if self._earlier:
            state.update(self._kept(self._earlier))
        if self._offered:
            state["offered"] = self._kept(self._offered)
        return state

    def load(self, state: State) -> None:
        """Continue from `state`; parameters that train only now have the model's values in the copies."""
        self.restart()
        self._steps, self._follows = state["steps"], state.get("follows", False)
        if "weights" in state:
            self._earlier = self._copy(state)
        if "offered" in state:
            self._offered = self._copy(state["offered"])

    def _kept(self, copy: Forward) -> State:
        own = dict(copy.model.named_parameters())
        names = [name for name, p in self._backbone.model.named_parameters() if p.requires_grad]
        return {
            "columns": output_layer(copy.model)[2].out_features,
            "weights": {name: own[name].detach().to("cpu", copy=True) for name in names},
        }

    def _copy(self, kept: State) -> Forward:
        """Return the copy of which `kept` is what :meth:`_kept` returned."""
        copy = copy_of(self._backbone)
        if output_layer(copy.model)[2].out_features > kept["columns"]:
            with self._random:
                shrink_head(copy.model, kept["columns"])
        own = dict(copy.model.named_parameters())
        trains = {name for name, p in self._backbone.model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name in trains & kept["weights"].keys():  # the others are shared with the model
                own[name].copy_(kept["weights"][name])
        copy.model.requires_grad_(False)
        return copy


def divergence(logits: Tensor, earlier: Tensor) -> Tensor:
    """Return T² KL(p' ‖ p) of each text, of shape (texts,).

    Parameters
    ----------
    logits, earlier
        The logits of the model and of its copy, of shape (texts, labels); the copy may know fewer labels.

    """
    now = (logits[:, : earlier.shape[1]] / TEMPERATURE).log_softmax(-1)
    then = (earlier / TEMPERATURE).log_softmax(-1)
    return TEMPERATURE**2 * F.kl_div(now, then, reduction="none", log_target=True).sum(-1)
