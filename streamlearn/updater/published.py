"""What a snapshot holds of an updater, and the updater that predicts from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from streamlearn.config import Config
from streamlearn.state import Export, State
from streamlearn.updater.experts.registry import TRANSFORMER
from streamlearn.updater.experts.transformer.mean_pooled import MeanPooledForSequenceClassification
from streamlearn.updater.features import FROZEN
from streamlearn.updater.labels import LabelMap
from streamlearn.updater.updater import Updater

OF_THE_MACHINE = {"model", "model_overrides", "trust_remote_code", "device", "precision", "threads"}
"""Settings of the updater that a snapshot does not pass on, because it is the model, or is loaded elsewhere."""


def export(updater: Updater, state: State) -> Export:
    """Return what a snapshot of `state` of `updater` publishes; its weights are those of `state`, not copied again."""
    backbone, model, mixture = updater.backbone, updater.backbone.model, dict[str, Any]()
    if updater.experts != [TRANSFORMER]:
        elsewhere = (TRANSFORMER, "encoding", "model", "frozen")
        mixture = {name: part for name, part in state.items() if name not in elsewhere}
        if updater.mixture.reads & FROZEN:
            mixture["frozen"] = backbone.frozen.weights()
        if "static" in updater.mixture.reads and backbone.embeddings_moved:
            mixture["embeddings"] = backbone.embeddings
    pooling = "mean" if isinstance(model, MeanPooledForSequenceClassification) else "native"
    settings = updater.config.model_dump(mode="json", exclude=OF_THE_MACHINE)
    settings |= {"experts": updater.experts, "pooling": pooling}
    if updater.transformer:
        config = backbone.model_config(updater.transformer.columns)
        weights = updater.transformer.weights(state[TRANSFORMER])
        return Export(config, weights, backbone.tokenizer, updater.transformer.width, mixture, settings)
    base = model.base_model
    return Export(copy.deepcopy(base.config), backbone.weights(), backbone.tokenizer, 0, mixture, settings)


def from_published(
    directory: str, settings: Mapping[str, Any], mixture: State, weights: Mapping[str, Tensor]
) -> Updater:
    """Return an updater on the CPU that predicts as the one did that published a snapshot.

    Parameters
    ----------
    directory
        Where the snapshot is.
    settings, mixture, weights
        As :func:`export` gave them.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded.
    ValueError
        If the experts do not fit it.

    """
    labels = LabelMap(mixture["labels"])
    config = Config.model_validate(
        {"updater": {**settings, "model": directory, "device": "cpu", "trust_remote_code": False}}
    )
    # A stream brings labels that nobody would put down in a file, such as one of two lines. Names are of one type.
    events = config.events.model_copy(update={"labels": labels.names()})
    updater = Updater(config.model_copy(update={"events": events}))
    if updater.transformer:
        updater.transformer.take(weights)
    if "frozen" in mixture:
        updater.backbone.frozen.load(mixture["frozen"])
    if "embeddings" in mixture:
        updater.mixture.begin_with(mixture["embeddings"])
    try:
        updater.load_experts(mixture, labels, as_they_are={TRANSFORMER} if updater.transformer else ())
    except (RuntimeError, KeyError, ValueError) as error:
        raise ValueError(f"its experts do not fit its model ({str(error).splitlines()[0]})") from None
    return updater
