"""What a snapshot contains of an updater, and the updater that predicts from a snapshot."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from streamlearn.config import Config
from streamlearn.state import Export, State
from streamlearn.updater.experts.registry import AVERAGED, TRANSFORMER
from streamlearn.updater.experts.transformer.averaged import AveragedTransformer
from streamlearn.updater.experts.transformer.mean_pooled import MeanPooledForSequenceClassification
from streamlearn.updater.experts.transformer.published import Published
from streamlearn.updater.features import FROZEN
from streamlearn.updater.updater import Updater

OF_THE_MACHINE = {"model", "model_overrides", "trust_remote_code", "device", "precision", "threads"}
"""Updater settings left out of a snapshot, because it is the model, or may be loaded elsewhere."""
OF_LEARNING = {"regularizer", "regularization"}
"""Settings left out because they cost memory and are not needed to predict."""


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
    settings = updater.config.model_dump(mode="json", exclude=OF_THE_MACHINE | OF_LEARNING)
    settings |= {"experts": updater.experts, "pooling": pooling}
    if updater.transformer:
        config = backbone.model_config(updater.transformer.columns)
        weights, adapter = updater.transformer.weights(state[TRANSFORMER]), updater.transformer.adapter()
        if adapter:  # which is merged into all published weights
            settings["trains"] = "all"
            for average in (expert for expert in updater.mixture.experts if isinstance(expert, AveragedTransformer)):
                mixture[AVERAGED] = average.merged(mixture[AVERAGED])
        return Export(config, weights, backbone.tokenizer, updater.transformer.width, mixture, settings, adapter)
    base = model.base_model
    return Export(copy.deepcopy(base.config), backbone.weights(), backbone.tokenizer, 0, mixture, settings)


def from_published(directory: str, settings: Mapping[str, Any], published: Published) -> Updater:
    """Return an updater on the CPU that predicts like the one that published a snapshot.

    Parameters
    ----------
    directory
        The directory of the snapshot.
    settings
        As returned by :func:`export`.
    published
        The contents of the snapshot.

    Raises
    ------
    ConfigurationError
        If the model cannot be loaded, or the experts do not fit it.

    """
    given = {**settings, "model": directory, "device": "cpu", "trust_remote_code": False}
    return Updater(Config.model_validate({"updater": given}), published=published)
