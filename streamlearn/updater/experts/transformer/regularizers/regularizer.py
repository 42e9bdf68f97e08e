"""What a regulariser is: R of L + λR, as a function of the weights, or of what the model says of the texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from streamlearn.state import State
from streamlearn.updater.experts.transformer.batches import Part


class Regularizer:
    """Adds λR to the objective of a micro-batch. A subclass overrides what its R needs; nothing is the default.

    Like an expert's, a step has two halves: until :meth:`apply`, nothing is remembered of a micro-batch.

    Parameters
    ----------
    strength
        λ.

    Attributes
    ----------
    strength
        As given.
    name
        What the configuration calls it.
    default
        The λ where the configuration names none.
    heeds_publications
        Whether :meth:`offered` and :meth:`published` change anything, so that the journal has to record them.

    """

    name: ClassVar[str]
    default: ClassVar[float]
    heeds_publications: ClassVar[bool] = False

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def per_text(self, part: Part, tokens: Sequence[NDArray[np.int32]], logits: Tensor) -> Tensor | None:
        """Return R of each text of `part` of `tokens`, of shape (texts,), or None where R is not of the texts.

        `logits`, of shape (texts, labels), are what the model says of them. R of the micro-batch is the mean that the
        loss is: weighted as the texts are.
        """
        del part, tokens, logits
        return None

    def prepare(self, texts: int) -> None:
        """Look at ∇L, which is with the parameters and is the mean over so many texts, before ∇R joins it."""

    def gradients(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Return ∇R of each parameter that R is a function of, where it is of the weights."""
        return ()

    def join(self, texts: int) -> None:
        """Make ∇(L + λR) of ∇L, which is the mean over so many texts."""
        self.prepare(texts)
        with torch.no_grad():
            for parameter, gradient in self.gradients():
                if parameter.grad is None:
                    parameter.grad = self.strength * gradient
                else:
                    parameter.grad.add_(gradient, alpha=self.strength)

    def apply(self) -> None:
        """Remember of the micro-batch what is to be remembered: the step has been taken."""

    def drop(self) -> None:
        """Forget what has been prepared."""

    def offered(self) -> None:
        """Take note that the model, as it is, has been handed over to be published."""

    def published(self) -> None:
        """Take note that the model, as it was when it was offered last, has been published."""

    def restart(self) -> None:
        """Begin again: the model has."""

    def state(self) -> State:
        """Return a copy of what decides R."""
        return {}

    def load(self, state: State) -> None:
        """Continue from a `state` that :meth:`state` returned; the model has been loaded.

        Raises
        ------
        StateError
            If R would be another one.

        """
        del state


def trained(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the parameters of `model` that train, by name, but for embeddings with row-sparse gradients.

    Those move only where a token occurred, and nothing pulls at the others.
    """
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse)
    sparse = {id(table.weight) for table in tables}
    return {name: p for name, p in model.named_parameters() if p.requires_grad and id(p) not in sparse}
