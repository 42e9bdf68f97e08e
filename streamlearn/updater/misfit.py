"""Why the configured experts cannot continue from a checkpoint, in one sentence that says what to set."""

from __future__ import annotations

import torch

from streamlearn.errors import StateError
from streamlearn.state import State
from streamlearn.updater.experts.registry import TRANSFORMER
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.head import is_pooler
from streamlearn.updater.experts.transformer.lora import plain
from streamlearn.updater.features import EMBEDDINGS, Feature

BEFORE_THE_MIXTURE = (
    "the checkpoint is of an earlier streamlearn, whose transformer learnt alone; to continue from it, set "
    "updater.experts: [transformer], updater.pooling: native and, unless you have set it, updater.trains: all; or name "
    "another publisher.directory to learn anew"
)


def refuse_other_features(state: State, model: str, backbone: Backbone, reads: frozenset[Feature]) -> None:
    """Raise StateError if texts would get other features than when `state` was made.

    `model` is the model's name in the configuration, and `reads` are the features that experts read.
    """
    if not backbone.is_frozen:
        return
    if state.get("frozen", backbone.frozen.digest) != backbone.frozen.digest:
        raise StateError(
            f"the weights of '{model}' are not those that the checkpoint was made with; bring them "
            "back, or start over with another publisher.directory"
        )
    if not reads & EMBEDDINGS:
        return
    saved = state.get(TRANSFORMER, {}).get("weights", {})
    for name, parameter in ((plain(n), p) for n, p in backbone.model.named_parameters()):
        if name not in saved or parameter.requires_grad or is_pooler(name):
            continue
        if not torch.equal(saved[name], parameter.detach().cpu()):
            raise StateError(
                f"since the checkpoint fewer weights train than before ({name} does not any more), and experts read "
                "features that are made with these as they were at first; set updater.trains and updater.embeddings "
                "to what they were, or start over with another publisher.directory"
            )


def misfit(state: State, error: Exception) -> str:
    """Return what to do about `error`, raised while loading the experts of an updater's `state`."""
    if "steps" not in state:  # counted by the mixture
        return BEFORE_THE_MIXTURE
    first = str(error).splitlines()[0].removesuffix(":")
    return (
        f"the checkpoint does not fit the configured model ({first}); updater.experts, updater.pooling and "
        "updater.trains must be what they were when it was made, or publisher.directory another one"
    )
