"""What every stateful part hands to a checkpoint, and takes back from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

State = dict[str, Any]
"""A tree of dicts whose leaves are JSON values, tensors, or lists of :class:`~streamlearn.events.Event`.

A state is a copy: nothing that happens to its owner afterwards may change it, because the checkpoint is
written on another thread while learning goes on.
"""


class Stateful(Protocol):
    """A part of the learner whose state decides the future of θ."""

    def state(self) -> State:
        """Return a copy of everything that decides what this part does next."""
        ...

    def load(self, state: State) -> None:
        """Continue from a state that :meth:`state` returned."""
        ...


@dataclass(frozen=True)
class Adapter:
    """The low-rank adapters of a model, as peft reads them: settings, and tensors by name."""

    settings: dict[str, Any]
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Export:
    """What a snapshot publishes: the mixture, and its transformer as Hugging Face's code loads it.

    Attributes
    ----------
    config, weights, tokenizer
        Hugging Face's configuration, θ by parameter name, and the tokenizer.
    columns
        How many outputs the head has, each of which has a name in the configuration; 0 where the model's head does not
        learn and is not published.
    mixture
        What predicting as the learner did takes beside them, the labels included: JSON values and tensors, no events.
        Empty where the transformer is published alone.
    settings
        The settings that decide what the mixture predicts, as JSON values.
    adapter
        What of the weights was learnt as adapters, which are merged into them; None where none was.
    language_model
        Whether it is a language model that is published, which has neither labels nor a mixture.

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
        """What it is that predicts."""
        if self.language_model:
            return "language_model"
        return "mixture" if self.mixture else "transformer"


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first of `tensors` with a value that is not finite, or None."""
    floating = ((name, value) for name, value in tensors.items() if value.is_floating_point())
    return next((name for name, value in floating if not bool(torch.isfinite(value).all())), None)
