"""The interface of regularisers: R of L + λR, as a function of the weights or of the model's predictions."""

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
    """Adds λR to the objective of a micro-batch. A subclass overrides what its R needs; the defaults do nothing.

    As for an expert, a step has two halves: until :meth:`apply`, nothing about a micro-batch is remembered.

    Parameters
    ----------
    strength
        λ.

    Attributes
    ----------
    strength
        As given.
    name
        Its name in the configuration.
    default
        The default of λ.
    heeds_publications
        Whether :meth:`offered` and :meth:`published` change anything, so that the journal has to record them.

    """

    name: ClassVar[str]
    default: ClassVar[float]
    heeds_publications: ClassVar[bool] = False

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def per_text(self, part: Part, tokens: Sequence[NDArray[np.int32]], logits: Tensor) -> Tensor | None:
        """Return R of each text of `part` of `tokens`, of shape (texts,), or None if R does not depend on predictions.

        `logits`, of shape (texts, labels), are the model's. R of the micro-batch is their mean with the weights of the
        texts, like the loss.
        """
        del part, tokens, logits
        return None

    def prepare(self, texts: int) -> None:
        """Inspect ∇L in the parameters, the mean over so many `texts`, before ∇R is added."""

    def gradients(self) -> Iterable[tuple[nn.Parameter, Tensor]]:
        """Return ∇R for each parameter, if R is a function of the weights."""
        return ()

    def join(self, texts: int) -> None:
        """Add λ∇R to ∇L, which is the mean over so many `texts`."""
        self.prepare(texts)
        with torch.no_grad():
            for parameter, gradient in self.gradients():
                if parameter.grad is None:
                    parameter.grad = self.strength * gradient
                else:
                    parameter.grad.add_(gradient, alpha=self.strength)

    def apply(self) -> None:
        """Remember what is needed of the micro-batch, because the step has been taken."""

    def drop(self) -> None:
        """Discard what has been prepared."""

    def offered(self) -> None:
        """Take note that the model, as it is, has been handed over to be published."""

    def published(self) -> None:
        """Take note that the model, as it was when it was offered last, has been published."""

    def restart(self) -> None:
        """Start over, because the model has."""

    def state(self) -> State:
        """Return a copy of everything that decides R."""
        return {}

    def load(self, state: State) -> None:
        """Continue from a `state` that :meth:`state` returned; the model has been loaded.

        Raises
        ------
        StateError
            If R would differ.

        """
        del state


def trained(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the parameters of `model` that train, by name, except embeddings with row-sparse gradients.

    Of those only rows of tokens that occurred change, and no pull is applied.
    """
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse)
    sparse = {id(table.weight) for table in tables}
    return {name: p for name, p in model.named_parameters() if p.requires_grad and id(p) not in sparse}
