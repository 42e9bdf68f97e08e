"""L2-SP: R = ½‖θ − θ₀‖² of what trains below the head, where θ₀ is the model as it was loaded; ∇R = θ − θ₀.

Use it if the initial model is good and the stream is short, noisy or narrow: fine-tuned on history, say, and then kept
up to date. It keeps the weights near their start without knowing which of them matter, and costs one more copy of them
in memory and nothing in a checkpoint. If the stream moves far away from the start, it slows learning down permanently:
``ewc`` and ``lwf`` hold on to what was known last instead. The head of a classifier, which starts untrained, is left to
``updater.weight_decay``; in a language model everything that trains is pulled.

References
----------
Li, X., Grandvalet, Y. and Davoine, F. (2018). Explicit inductive bias for transfer learning with convolutional
networks. ICML.

"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from streamlearn.errors import StateError
from streamlearn.state import State
from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer, trained
from streamlearn.updater.experts.transformer.weights import digest_of


class L2SP(Regularizer):
    """Pulls the trained parameters, in a classifier those below the head, towards their initial values.

    Parameters
    ----------
    strength
        λ.
    model
        The model whose weights are pulled, as loaded.
    head
        Whether its head was loaded as well, and is pulled.

    """

    name: ClassVar[str] = "l2_sp"
    default: ClassVar[float] = 0.01

    def __init__(self, strength: float, model: PreTrainedModel, *, head: bool = False) -> None:
        super().__init__(strength)
        below = {id(parameter) for parameter in (model if head else model.base_model).parameters()}
        self._pulled = {name: p for name, p in trained(model).items() if id(p) in below}
        self._start = {name: p.detach().clone() for name, p in self._pulled.items()}
        self._digests = {name: digest_of(value) for name, value in self._start.items()}

    def gradients(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Return θ − θ₀."""
        return ((parameter, parameter.detach() - self._start[name]) for name, parameter in self._pulled.items())

    def state(self) -> State:
        """Return the SHA-256 of each weight of θ₀, which is the model's own."""
        return {"start": dict(self._digests)}

    def load(self, state: State) -> None:
        """Check that θ₀ is the same; parameters that train only now are as loaded."""
        refuse_another_start(self.name, self._digests, state["start"])


def refuse_another_start(name: str, own: Mapping[str, str], saved: Mapping[str, str]) -> None:
    """Raise StateError if the initial weights of the regularizer `name` differ from those of the saved digests."""
    for weight, digest in saved.items():
        if own.get(weight, digest) != digest:
            raise StateError(
                f"updater.regularizer is {name}, and the model that the checkpoint began with was another one "
                f"({weight} differs); bring it back, or start over with another publisher.directory"
            )
