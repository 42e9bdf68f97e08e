"""R = KL(p₀ ‖ p), the mean over tokens, where p₀ are the predictions of the model as loaded.

So ∇R by the logits is p − p₀. It is the form of ``lwf`` for language models: the earlier copy is the initial model,
which is known to be good at more than the stream is about. The temperature is 1: with 50,000 words the probabilities
are soft already, and R is in nats like L, so that λ is a ratio between the two.

Use it if the model should keep its abilities outside the stream, and no texts from there can be replayed. It costs
another forward pass, and a copy of the trained parameters in memory; a checkpoint contains only their digests.

References
----------
Li, Z. and Hoiem, D. (2016). Learning without forgetting. ECCV. Jaques, N. et al. (2017). Sequence tutor: conservative
fine-tuning of sequence generation models with KL-control. ICML: for language, towards the start.

"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - its name in the field
from torch import Tensor
from transformers import PreTrainedModel

from streamlearn.config import Updater
from streamlearn.state import State
from streamlearn.updater.experts.transformer.regularizers.ewc import OnlineEWC
from streamlearn.updater.experts.transformer.regularizers.l2 import L2
from streamlearn.updater.experts.transformer.regularizers.l2_sp import L2SP, refuse_another_start
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer, trained
from streamlearn.updater.experts.transformer.weights import digest_of
from streamlearn.updater.language.forward import Forward
from streamlearn.updater.language.packing import Block


class DivergenceFromStart(Regularizer):
    """Pulls the model's predictions of each token towards those of the model as loaded.

    Parameters
    ----------
    strength
        λ.
    forward
        Runs texts through the model as loaded, whose trained parameters are copied.

    """

    name: ClassVar[str] = "lwf"
    default: ClassVar[float] = 1.0

    def __init__(self, strength: float, forward: Forward) -> None:
        super().__init__(strength)
        self._start = forward.of(_still(forward.model))
        self._digests = {name: digest_of(value) for name, value in trained(forward.model).items()}

    def per_token(self, block: Block, logits: Tensor) -> Tensor:
        """Return R of each token of `block`, of shape (tokens,), given the model's current `logits`."""
        with torch.no_grad():
            start = self._start.logits(block)
        return divergence(logits, start)

    def state(self) -> State:
        """Return the SHA-256 of each weight of the start that trains; the updater records the others."""
        return {"start": dict(self._digests)}

    def load(self, state: State) -> None:
        """Check that the initial weights are the same."""
        refuse_another_start(self.name, self._digests, state["start"])


def divergence(logits: Tensor, start: Tensor) -> Tensor:
    """Return KL(p₀ ‖ p) at each position in nats, of shape (tokens,); both are of shape (tokens, vocabulary)."""
    return F.kl_div(logits.log_softmax(-1), start.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def make_regularizer(config: Updater, forward: Forward) -> Regularizer | None:
    """Return the regulariser that `config` names, or None.

    The model must be as loaded, with the parameters that train already selected. ``der`` is refused in the
    configuration.
    """
    model, given = forward.model, config.regularization
    match config.regularizer:
        case "l2":
            return L2(given or L2.default, model)
        case "l2_sp":
            return L2SP(given or L2SP.default, model, head=True)
        case "ewc":
            return OnlineEWC(given or OnlineEWC.default, model)
        case "lwf":
            return DivergenceFromStart(given or DivergenceFromStart.default, forward)
    return None


def _still(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of `model` that does not change; parameters that do not train are shared."""
    shared: dict[int, object] = {id(p): p for p in model.parameters() if not p.requires_grad}
    return copy.deepcopy(model, memo=shared).requires_grad_(False).eval()  # type: ignore[no-any-return]
