"""A warm start: an updater that starts from a published mixture instead of a plain model.

Everything that predicts is kept: labels, experts, features, the pool and the transformer's weights. What only serves
learning starts over: the optimiser's moments and its warm-up.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Protocol

from streamlearn.config import Updater as Config
from streamlearn.errors import ConfigurationError
from streamlearn.events import Label
from streamlearn.state import State
from streamlearn.updater.experts.registry import TRANSFORMER
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.expert import TransformerExpert
from streamlearn.updater.experts.transformer.model import first_line
from streamlearn.updater.experts.transformer.published import Published
from streamlearn.updater.labels import LabelMap
from streamlearn.updater.mixture import Mixture

log = logging.getLogger(__name__)


class Beginner(Protocol):
    """The part of an :class:`~streamlearn.updater.updater.Updater` that a warm start uses."""

    config: Config
    backbone: Backbone
    transformer: TransformerExpert | None
    mixture: Mixture
    labels: LabelMap
    steps: int

    @property
    def experts(self) -> list[str]:
        """The names of the experts, in their order."""
        ...

    def load_experts(self, state: State, labels: LabelMap, *, as_they_are: Collection[str] = ()) -> None:
        """Load the experts' parts of `state`."""
        ...


def with_labels(published: Published | None, closed: Sequence[Label], model: str) -> Published | None:
    """Return what was `published` as `model`, or None if some of its labels are missing from a `closed` list.

    Then the mixture cannot be used, and the log says so; the transformer is still used.
    """
    if published is None or not closed or set(published.mixture["labels"]) <= set(closed):
        return published
    said = "the mixture in '%s' is not begun with, because its labels (%s) are not all among events.labels"
    log.warning(said, model, ", ".join(map(str, published.mixture["labels"][:5])))
    return None


def make_backbone(config: Config, closed: Sequence[Label], published: Published | None, *, tuned: bool) -> Backbone:
    """Return the model of `config` with the labels of a `closed` list, or those of the mixture `published`."""
    if published is None:
        return Backbone(config, [str(label) for label in closed], tuned=tuned)
    config = config.model_copy(update={"pooling": published.settings.pooling})
    mixture, labels = published.mixture, [str(label) for label in published.mixture["labels"]]
    return Backbone(config, labels, tuned=tuned, before=mixture.get("frozen", {}), embeddings=mixture.get("embeddings"))


def begin_with(updater: Beginner, published: Published | None, closed: Sequence[Label]) -> None:
    """Let the new `updater` continue from what was `published`, if anything, and add the labels of a `closed` list.

    Raises
    ------
    ConfigurationError
        If its experts do not fit.

    """
    if published is None:
        return
    model, mixture = updater.config.model, published.mixture
    if updater.backbone.stopped:
        raise ConfigurationError(
            f"updater.trains is '{updater.config.trains}', but more than that of '{model}' has been trained already "
            f"('{published.settings.trains}'), and its experts know its texts by what came of them before; set "
            "updater.trains to that"
        )
    if not set(updater.experts) & set(published.settings.experts):
        there = ", ".join(published.settings.experts)
        raise ConfigurationError(f"none of updater.experts is in the mixture in '{model}' (there: {there})")
    labels = LabelMap(mixture["labels"])
    has_head = TRANSFORMER in published.settings.experts
    try:
        if updater.transformer and has_head:
            updater.transformer.take(published.weights)
        updater.load_experts(mixture, labels, as_they_are={TRANSFORMER} if updater.transformer and has_head else ())
    except (RuntimeError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"updater.model: the experts in '{model}' do not fit its model ({first_line(error)})"
        ) from None
    updater.steps = mixture["steps"]
    for label in closed:
        if updater.labels.add(label):
            updater.mixture.grow(str(label))
