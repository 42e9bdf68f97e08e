"""L2: R = ½‖θ‖² over the matrices that train, so that ∇R = θ.

Use it if few events make weights large and the initial weights are of little value: with a model that was hardly
pre-trained. With a pre-trained one it pulls away from what is known, and ``l2_sp`` is the better choice. It differs
from ``updater.weight_decay`` with AdamW, whose decay is not divided by the size of the gradients (Loshchilov and
Hutter, 2019); here it is, as for any gradient, so that weights with small gradients are pulled most.

References
----------
Krogh, A. and Hertz, J. (1991). A simple weight decay can improve generalization. NeurIPS.

"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from streamlearn.updater.experts.transformer.regularizers.regularizer import Regularizer, trained


class L2(Regularizer):
    """Pulls matrices towards zero; biases and the gains of normalisation stay as they are.

    Parameters
    ----------
    strength
        λ.
    model
        The model whose weights are pulled.

    """

    name: ClassVar[str] = "l2"
    default: ClassVar[float] = 0.001

    def __init__(self, strength: float, model: PreTrainedModel) -> None:
        super().__init__(strength)
        self._model = model

    def gradients(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Return θ of each matrix."""
        return ((p, p.detach()) for p in trained(self._model).values() if p.ndim > 1)
