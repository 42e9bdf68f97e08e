"""R = KL(p₀ ‖ p), the mean over tokens, where p₀ is what the model as it was loaded says of each.

So ∇R by the logits is p − p₀. It is what ``lwf`` is for a language model: the earlier copy is the one that everything
begins with, which is known to be good at more than the stream is about. The temperature is 1: among 50,000 words the
probabilities are soft already, and R is in nats so, as L is, and λ says how much of the one outweighs how much of the
other.

Use it where the model is to go on being what it was elsewhere, and no text of elsewhere can be replayed. It costs a
further forward pass, and a copy of what trains in memory; a checkpoint holds its digests only.

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
    """Pulls what the model says of each token towards what it said when it was loaded.

    Parameters
    ----------
    strength
        λ.
    forward
        Runs texts through the model as it was loaded, of which what trains is copied.

    """

    name: ClassVar[str] = "lwf"
    default: ClassVar[float] = 1.0

    def __init__(self, strength: float, forward: Forward) -> None:
        super().__init__(strength)
        self._start = forward.of(_still(forward.model))
        self._digests = {name: digest_of(value) for name, value in trained(forward.model).items()}

    def per_token(self, block: Block, logits: Tensor) -> Tensor:
        """Return R of each token of `block`, of shape (tokens,), where `logits` are what the model says now."""
        with torch.no_grad():
            start = self._start.logits(block)
        return divergence(logits, start)

    def state(self) -> State:
        """Return the SHA-256 of each weight of the start that trains; the others are the updater's to name."""
        return {"start": dict(self._digests)}

    def load(self, state: State) -> None:
        """See that the start is the same."""
        refuse_another_start(self.name, self._digests, state["start"])


def divergence(logits: Tensor, start: Tensor) -> Tensor:
    """Return KL(p₀ ‖ p) at each place in nats, of shape (tokens,); both are of shape (tokens, vocabulary)."""
    return F.kl_div(logits.log_softmax(-1), start.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def make_regularizer(config: Updater, forward: Forward) -> Regularizer | None:
    """Return what `config` names, or None where it names none.

    The model is as it was loaded, and what of it trains has been chosen. ``der`` is refused with the configuration.
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
    """Return a copy of `model` that stays as it is; what does not train is shared."""
    shared: dict[int, object] = {id(p): p for p in model.parameters() if not p.requires_grad}
    return copy.deepcopy(model, memo=shared).requires_grad_(False).eval()  # type: ignore[no-any-return]
