"""L2-SP: R = ½‖θ − θ₀‖² of what trains below the head, where θ₀ is the model as it was loaded; ∇R = θ − θ₀.

Use it where the model that everything begins with is good and the stream is short, noisy or narrow: fine-tuned on
history, say, and then kept up to date. It keeps the weights near what is known without knowing which of them matter,
and costs one more copy of them in memory and nothing in a checkpoint. Where the stream leads far away from the start
it is a brake for ever: ``ewc`` and ``lwf`` hold on to what was known last instead. The head of a classifier, which
begins with nothing, is left to ``updater.weight_decay``; of a language model all that trains is pulled.

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
    """Pulls what trains towards where it began, of a classifier what trains below the head.

    Parameters
    ----------
    strength
        λ.
    model
        Whose weights, as they were loaded.
    head
        Whether its head was loaded, too, and is pulled.

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
        """See that θ₀ is the same; what trains now and did not when `state` was made is as it was loaded."""
        refuse_another_start(self.name, self._digests, state["start"])


def refuse_another_start(name: str, own: Mapping[str, str], saved: Mapping[str, str]) -> None:
    """Raise StateError where the regularizer `name` begins with weights whose digests are not those that were saved."""
    for weight, digest in saved.items():
        if own.get(weight, digest) != digest:
            raise StateError(
                f"updater.regularizer is {name}, and the model that the checkpoint began with was another one "
                f"({weight} differs); bring it back, or start over with another publisher.directory"
            )
