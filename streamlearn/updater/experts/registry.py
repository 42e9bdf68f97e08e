"""All experts, and which of them make up each tier. To add one, write its file and name it here."""

from __future__ import annotations

import difflib
import logging
import pkgutil
from collections.abc import Sequence
from typing import Any

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.errors import ConfigurationError
from streamlearn.updater.experts.expert import Expert
from streamlearn.updater.experts.transformer.backbone import Backbone

HERE = "streamlearn.updater.experts"
TOKENS: list[str] = [
    # "package.module:Class", constructed from the configuration and the names of the labels known from the start
    f"{HERE}.naive_bayes:NaiveBayes",
    f"{HERE}.softmax:AdaGradSoftmax",
    f"{HERE}.class_means:RecentMeans",
    f"{HERE}.memory:RecentMemory",
    f"{HERE}.memory:LongMemory",
    f"{HERE}.least_squares:LeastSquares",
]
FROZEN: list[str] = [
    f"{HERE}.class_means:FrozenRecentMeans",
    f"{HERE}.memory:FrozenRecentMemory",
    f"{HERE}.memory:FrozenLongMemory",
    f"{HERE}.least_squares:FrozenLeastSquares",
    f"{HERE}.least_squares:MiddleLeastSquares",
]
TUNED: list[str] = [  # constructed from the backbone, too; the transformer first, because others read its output
    f"{HERE}.transformer.expert:TransformerExpert",
    f"{HERE}.transformer.averaged:AveragedTransformer",
]
TRANSFORMER, AVERAGED = "transformer", "averaged"

log = logging.getLogger(__name__)


def chosen(experts: str | Sequence[str]) -> list[type[Any]]:
    """Return the classes of the experts of a tier, or of the named `experts`, in the order of the registry.

    Raises
    ------
    ConfigurationError
        If there is no expert of that name, or one needs another that is missing.

    """
    tiers = {"tokens": [*TOKENS], "frozen": [*TOKENS, *FROZEN], "tuned": [*TUNED, *TOKENS, *FROZEN]}
    known = {kind.name: kind for kind in map(pkgutil.resolve_name, tiers["tuned"])}
    if isinstance(experts, str):
        return [pkgutil.resolve_name(kind) for kind in tiers[experts]]
    for name in experts:
        if name not in known:
            match = difflib.get_close_matches(name, sorted(known), n=1)
            nearest = f"; did you mean '{match[0]}'?" if match else f" (there are: {', '.join(known)})"
            raise ConfigurationError(f"updater.experts: there is no expert '{name}'{nearest}")
    if AVERAGED in experts and TRANSFORMER not in experts:
        raise ConfigurationError(f"updater.experts: '{AVERAGED}' averages the weights of '{TRANSFORMER}': add that one")
    return [kind for name, kind in known.items() if name in experts]


def make_experts(config: UpdaterConfig, kinds: Sequence[type[Any]], backbone: Backbone) -> list[Expert]:
    """Return an instance of each of `kinds`, with the labels of the `backbone`'s columns.

    Raises
    ------
    ConfigurationError
        If the model does not provide what an expert chosen by name reads; experts of a tier are left out instead.

    """
    if len(kinds) > 1:
        _ = backbone.frozen  # a copy as it was loaded, needed to restart from
    experts = list[Expert]()
    for kind in kinds:
        missing = ", ".join(sorted(kind.reads - backbone.offers)) if kind.reads else ""
        if missing and isinstance(config.experts, list):
            raise ConfigurationError(
                f"updater.experts: '{kind.name}' reads {missing} embeddings, which '{config.model}' does not give"
            )
        if missing:
            said = "the expert '%s' of the tier '%s' is left out: it reads %s embeddings, which '%s' does not give"
            log.info(said, kind.name, config.experts, missing, config.model)
            continue
        tuned = kind.name in (TRANSFORMER, AVERAGED)
        experts.append(kind(config, list(backbone.columns), *([backbone] if tuned else [])))
    if not experts:
        raise ConfigurationError(
            f"updater.experts: none of the tier '{config.experts}' can learn from '{config.model}'"
        )
    return experts
