"""What every stateful part gives to a checkpoint, and restores from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

State = dict[str, Any]
"""A tree of dicts whose leaves are JSON values, tensors, or lists of :class:`~streamlearn.events.Event`.

A state is a copy: later changes to its owner must not affect it, because the checkpoint is written on another thread
while learning goes on.
"""


class Stateful(Protocol):
    """A part of the learner whose state affects future values of θ."""

    def state(self) -> State:
        """Return a copy of everything that decides what this part does next."""
        ...

    def load(self, state: State) -> None:
        """Continue from a state that :meth:`state` returned."""
        ...


@dataclass(frozen=True)
class Adapter:
    """The low-rank adapters of a model, in peft's format: settings, and tensors by name."""

    settings: dict[str, Any]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Export:
    """What a snapshot publishes: the mixture, and its transformer in the form that Hugging Face's code loads.

    Attributes
    ----------
    config, weights, tokenizer
        Hugging Face's configuration, θ by parameter name, and the tokenizer.
    columns
        How many outputs the head has, each of which has a name in the configuration; 0 if the model's head does not
        train and is not published.
    mixture
        What is needed besides to predict as the learner did, including the labels: JSON values and tensors, no events.
        Empty if the transformer is published alone.
    settings
        The settings that decide what the mixture predicts, as JSON values.
    adapter
        The part of the weights that was learnt as adapters, which are merged into them; None if there are none.
    language_model
        Whether the published model is a language model, which has neither labels nor a mixture.

    """

    config: Any
    weights: dict[str, Tensor]
    tokenizer: Any
    columns: int
    mixture: State = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    adapter: Adapter | None = None
    language_model: bool = False

    @property
    def predictor(self) -> Literal["mixture", "transformer", "language_model"]:
        """The kind of predictor."""
        if self.language_model:
            return "language_model"
        return "mixture" if self.mixture else "transformer"


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first of `tensors` with a value that is not finite, or None."""
    floating = ((name, value) for name, value in tensors.items() if value.is_floating_point())
    return next((name for name, value in floating if not bool(torch.isfinite(value).all())), None)
