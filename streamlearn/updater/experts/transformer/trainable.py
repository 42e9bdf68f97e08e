"""Which parameters train: all, the head, the last layers, biases or adapters; token embeddings dense, frozen or sparse.

``bias`` is BitFit: Ben Zaken, E., Ravfogel, S. and Goldberg, Y. (2022). BitFit: simple parameter-efficient fine-tuning
for transformer-based masked language-models. ACL.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.transformer.lora import is_factor


@dataclass(frozen=True)
class Trainable:
    """The trained parameters: of the body, of the head, and the embeddings with row-sparse gradients."""

    body: list[nn.Parameter]
    head: list[nn.Parameter]
    sparse: list[nn.Parameter]


def select(model: PreTrainedModel, config: Updater) -> Trainable:
    """Freeze what does not train and return what does.

    ``head`` is everything outside the pre-trained base; ``last-N`` adds the last N layers and whatever the base
    computes after its layers (a pooler, a final normalisation). In an encoder-decoder model, the layers are those of
    the decoder. ``bias`` adds all biases of the base, and ``lora`` its adapters.

    Raises
    ------
    ConfigurationError
        If the model has fewer layers than ``last-N`` asks for, or no biases, or its embeddings cannot be frozen or
        sparse.

    """
    base = base_of(model)
    in_base = {id(parameter) for parameter in base.parameters()}
    trained = _trained_in_base(base, config)
    embeddings = [] if config.embeddings == "dense" else _embeddings(model, config)
    table = [p for module in embeddings[:1] for p in module.parameters(recurse=False)]
    words = [p for p in table if id(p) in trained]
    trained -= {id(module.weight) for module in embeddings}
    if config.embeddings == "sparse" and words:
        for module in embeddings:
            module.sparse = True
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


def embedding_rows(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model has embeddings for, or None if it has no table."""
    try:
        rows: int | None = getattr(model.get_input_embeddings(), "num_embeddings", None)
    except NotImplementedError:  # CANINE hashes characters
        return None
    return rows


def _embeddings(model: PreTrainedModel, config: Updater) -> list[nn.Embedding]:
    """Return every module with token embeddings: an encoder and its decoder share one table."""
    try:
        table = getattr(model.get_input_embeddings(), "weight", None)
    except NotImplementedError:
        table = None
    users = [module for module in model.modules() if any(p is table for p in module.parameters(recurse=False))]
    found = [module for module in users if isinstance(module, nn.Embedding)]
    if not found or (config.embeddings == "sparse" and len(found) < len(users)):
        raise ConfigurationError(
            f"updater.embeddings is '{config.embeddings}', but {type(model).__name__} has no table of token embeddings "
            "that is only looked up; set it to dense"
        )
    return found


def _trained_in_base(base: PreTrainedModel, config: Updater) -> set[int]:
    """Return the ids of the parameters of `base` that train.

    By default they are those of the last layers, as many as there are, or all if layers cannot be told apart.
    """
    trains, chosen = config.trains, config.trains != Updater.model_fields["trains"].default
    if trains == "head":
        return set()
    if trains == "lora":
        return {id(parameter) for name, parameter in base.named_parameters() if is_factor(name)}
    if trains == "bias":
        biases = {id(p) for name, p in base.named_parameters() if name.rpartition(".")[2] == "bias"}
        if not biases:
            raise ConfigurationError(
                f"updater.trains is 'bias', but {type(base).__name__} has no biases; set it to lora, head or all"
            )
        return biases
    everything = {id(parameter) for parameter in base.parameters()}
    if trains == "all":
        return everything
    try:
        stack = layers_of(base)
    except ConfigurationError:
        if chosen:
            raise
        return everything
    count = int(trains.removeprefix("last-"))
    if not chosen:
        count = min(count, len(stack))
    if not 1 <= count <= len(stack):
        raise ConfigurationError(f"updater.trains is '{trains}', but the model has {len(stack)} layers")
    first_layer = {id(p) for p in stack[0].parameters()}
    before = [id(p) for p in base.parameters()]
    before = before[: next(index for index, p in enumerate(before) if p in first_layer)]
    frozen_layers = {id(p) for layer in stack[: len(stack) - count] for p in layer.parameters()}
    return everything - frozen_layers - set(before)


def base_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return `model` without its head."""
    base: PreTrainedModel = model.base_model  # type: ignore[assignment]  # transformers says Module
    return base


def layers_of(base: PreTrainedModel) -> list[nn.Module]:
    """Return the layers of the base; in an encoder-decoder model those of the decoder.

    They are the first list of modules of the configured length. Parallel lists, one for the attentions and one for the
    feed-forward networks (XLM), are not layers.
    """
    config, within = base.config, "decoder" if base.config.is_encoder_decoder else ""
    names = ("num_hidden_layers", "decoder_layers", "num_decoder_layers")[1 if within else 0 :]
    counts = {getattr(config, name, None) for name in names}
    stacks = {
        name: list(module)
        for name, module in base.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) in counts and within in name
    }
    first = next(iter(stacks), "")
    beside = [name for name in stacks if name.rpartition(".")[0] == first.rpartition(".")[0]]
    if len(beside) != 1:
        raise ConfigurationError(
            f"updater.trains asks for the last layers, but {type(base).__name__} has no layers that can be told "
            "apart; set it to all or head"
        )
    return stacks[first]
