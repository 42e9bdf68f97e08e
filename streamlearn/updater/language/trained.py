"""Which parameters of a language model train: ``updater.trains``, and with all or last layers the output layer.

With adapters or biases the output layer stays fixed: unlike a classifier's head it is pre-trained, and it is large.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from streamlearn.config import Updater
from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.transformer.lora import adapt
from streamlearn.updater.experts.transformer.trainable import Trainable, base_of, select

FEW = ("bias", "lora")


def give_adapters(model: PreTrainedModel, config: Updater) -> None:
    """Add adapters to `model`, drawn from torch's generator, if these are to be trained.

    Raises
    ------
    ConfigurationError
        If it has no layers that can be adapted.

    """
    if config.trains == "lora":
        adapt(base_of(model), config)


def select_what_trains(model: PreTrainedModel, config: Updater) -> Trainable:
    """Freeze what does not train and return what does; all of it has the body's learning rate.

    Raises
    ------
    ConfigurationError
        If that cannot be done with this model, or nothing would train.

    """
    chosen = select(model, config)
    head = chosen.head
    if config.trains in FEW:
        for parameter in head:
            parameter.requires_grad = config.trains == "bias" and parameter.ndim == 1
        head = [parameter for parameter in head if parameter.requires_grad]
    body = [*chosen.body, *head]
    if not body and not chosen.sparse:
        raise ConfigurationError(
            f"updater.trains is '{config.trains}', and of this model nothing would train, because its output layer is "
            "its table of embeddings; set it to all, or such as last-2"
        )
    return Trainable(body=body, head=[], sparse=chosen.sparse)
