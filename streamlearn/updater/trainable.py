"""Which parameters train: all, the head, or the last layers; the token embeddings dense, frozen or sparse."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError


@dataclass(frozen=True)
class Trainable:
    """The trained parameters: of the body, of the head, and the embeddings with row-sparse gradients."""

    body: list[nn.Parameter]
    head: list[nn.Parameter]
    sparse: list[nn.Parameter]


def select(model: PreTrainedModel, config: Updater) -> Trainable:
    """Freeze what does not train and return what does.

    ``head`` is everything outside the pre-trained base; ``last-N`` adds the last N layers and whatever the
    base computes after its layers (a pooler, a final normalisation).

    Raises
    ------
    ConfigurationError
        If the model has fewer layers than ``last-N`` asks for.

    """
    base = model.base_model
    embeddings = model.get_input_embeddings()
    in_base = {id(parameter) for parameter in base.parameters()}
    trained = _trained_in_base(base, model.config.num_hidden_layers, config.trains)
    words = [p for p in embeddings.parameters() if id(p) in trained]
    if config.embeddings == "frozen" or not words:
        trained -= {id(p) for p in embeddings.parameters()}
        words = []
    if config.embeddings == "sparse":
        embeddings.sparse = True  # type: ignore[assignment]  # nn.Embedding's own switch
        trained -= {id(p) for p in words}
    body: list[nn.Parameter] = []
    head: list[nn.Parameter] = []
    for parameter in model.parameters():
        outside = id(parameter) not in in_base
        parameter.requires_grad = outside or id(parameter) in trained
        if parameter.requires_grad:
            (head if outside else body).append(parameter)
    sparse = words if config.embeddings == "sparse" else []
    for parameter in sparse:
        parameter.requires_grad = True
    return Trainable(body=body, head=head, sparse=sparse)


def _trained_in_base(base: nn.Module, layers: int, trains: str) -> set[int]:
    if trains == "head":
        return set()
    everything = {id(parameter) for parameter in base.parameters()}
    if trains == "all":
        return everything
    count = int(trains.removeprefix("last-"))
    stack = next((m for m in base.modules() if isinstance(m, nn.ModuleList) and len(m) == layers), None)
    if stack is None or count > layers:
        raise ConfigurationError(f"updater.trains is '{trains}', but the model has {layers} layers")
    first_layer = {id(p) for p in stack[0].parameters()}
    before = [id(p) for p in base.parameters()]
    before = before[: next(place for place, p in enumerate(before) if p in first_layer)]
    frozen_layers = {id(p) for layer in list(stack)[: layers - count] for p in layer.parameters()}
    return everything - frozen_layers - set(before)
