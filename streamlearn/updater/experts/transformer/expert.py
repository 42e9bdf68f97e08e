"""The transformer expert: a Hugging Face classifier that learns from micro-batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.events import Reason
from streamlearn.state import Adapter, State
from streamlearn.updater.experts.expert import Gradients
from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.batches import Part, collate
from streamlearn.updater.experts.transformer.device import raise_if_it_is_the_machine
from streamlearn.updater.experts.transformer.forward import Forward, Rows, in_order
from streamlearn.updater.experts.transformer.frozen import Bypass
from streamlearn.updater.experts.transformer.head import (
    NO_LABEL_YET,
    draw_head,
    grow_head,
    head_keys,
    output_layer,
    shrink_head,
)
from streamlearn.updater.experts.transformer.lora import adapt, as_peft_has_it, is_factor
from streamlearn.updater.experts.transformer.optimizer import Optimizer
from streamlearn.updater.experts.transformer.probe import mixed_lengths, probe_step
from streamlearn.updater.experts.transformer.regularizers.choice import make_regularizer
from streamlearn.updater.experts.transformer.trainable import base_of, layers_of, select
from streamlearn.updater.experts.transformer.weights import Weights
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.objective import Objective

NEAR = 1e-3  # relative tolerance within which bypassed layers count as having no effect

log = logging.getLogger(__name__)


class TransformerExpert:
    """Learns labels from token ids by the cross-entropy of a sequence classification head.

    It is worth its cost wherever the label depends on meaning and there are enough events: it overtakes the frozen
    model after some hundred events, and is the only expert that can learn what the pre-trained model does not know.

    What a model cannot do is found when it is constructed: it is tried on a few texts, after which θ, the optimiser and
    the random state are restored. Bottom layers that do not train are run once for each text.

    Parameters
    ----------
    config
        Which part of the model trains, and how.
    labels
        The names of the labels known from the start, which are those of the backbone's columns.
    backbone
        The model.

    Attributes
    ----------
    backbone
        As given.
    forward
        Runs texts through the model.
    columns
        The names of the head's columns.
    random
        The generator for dropout and new columns.
    regularizer
        R of L + λR, or None.

    """

    name: ClassVar[str] = "transformer"
    reads: ClassVar[frozenset[Feature]] = frozenset()
    replays: ClassVar[bool] = True

    def __init__(self, config: UpdaterConfig, labels: Sequence[str], backbone: Backbone) -> None:
        self._config = config
        self.backbone = backbone
        self.columns: list[str] = list(labels)
        self.random = backbone.random
        self.model = backbone.model
        self.bypass: Bypass | None = None
        self.forward = Forward(backbone, self.model)
        self._adapt()
        self.model.train(config.dropout > 0.0)
        self.optimizer = Optimizer(select(self.model, config), config)
        self._weights = Weights(self.model, config.model)
        self._probe()
        heads, named = head_keys(self.model), list(self.model.named_parameters())
        self._first = {name: p.detach().clone() for name, p in named if name in heads or is_factor(name)}
        self._pass_by_what_is_frozen()
        self.regularizer = make_regularizer(config, backbone)

    def _adapt(self) -> None:
        """Add adapters to the model, if these are to be trained; the frozen model stays without them."""
        if self.adapted:
            _ = self.backbone.frozen
            with self.random:
                adapt(base_of(self.model), self._config)

    def _probe(self) -> None:
        """Take a step on texts of mixed length, then restore everything."""
        weights, mark = self._weights.copy(), self.random.mark()
        texts = mixed_lengths(*self.backbone.probes())
        with self.random:
            parts = collate(texts, self.backbone.layout, device=self.backbone.device, overhead=10**9)
            probe_step(parts, lambda part: self.forward.logits(part, texts), self.optimizer, self._config)
        self.random.reset(mark)
        self._weights.put(weights)
        self.model.zero_grad(set_to_none=True)
        self.optimizer = Optimizer(select(self.model, self._config), self._config)

    def _pass_by_what_is_frozen(self) -> None:
        """Run the frozen layers only once for each text, if that demonstrably gives the head the same input."""
        if not self.backbone.cut:
            return
        texts = mixed_lengths(*self.backbone.probes())
        expected = _fed(self.forward, texts)
        layers = layers_of(base_of(self.model))[: self.backbone.frozen.cut]
        for as_tuple in (False, True):
            bypass = Bypass(layers, as_tuple=as_tuple)
            forward = Forward(self.backbone, self.model, bypass)
            if _near(_fed(forward, texts), expected):
                self.bypass, self.forward = bypass, forward
                return
            bypass.remove()
        log.info("updater.trains: the frozen layers of '%s' run with the others each time", self._config.model)

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels), NaN for a text on which the model raises.

        The pooled states are added to `encoded` if they are wanted.
        """
        mark = self.random.mark()
        try:
            with self.random:
                log_probabilities, pooled = self.forward.predict_each(
                    encoded.tokens, columns=len(self.columns), pools="pooled" in encoded.wanted
                )
        finally:
            self.random.reset(mark)
        if pooled is not None:
            encoded.pooled = pooled
        return log_probabilities

    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> Gradients | Reason:
        """Compute the gradient into the parameters; leave none if it or a loss is not finite or the model raises.

        See :class:`~streamlearn.updater.experts.expert.Expert`; the pooled states are added to `encoded` if they are
        wanted. With `apart` each text goes through the model alone, which only takes longer if they could be batched.
        """
        mark = self.random.mark()
        outputs: Rows = []
        losses: Rows = []
        pooled: Rows | None = [] if "pooled" in encoded.wanted else None
        reason = Reason.NOT_FINITE
        try:
            with self.random:
                objective = Objective(targets, weights, device=self.backbone.device)
                for part in self.forward.parts(encoded.tokens, apart=apart):
                    logits = self.forward.logits(part, encoded.tokens, pooled)
                    loss = objective.losses(logits, part.rows)
                    self._regularized(objective.mean(loss, part.rows), objective, part, encoded, logits).backward()
                    outputs.append((part, logits.detach()))
                    losses.append((part, loss.detach()))
            if self.regularizer:
                self.regularizer.join(len(encoded))
            loss = in_order(losses, len(encoded))
            if bool(torch.isfinite(loss).all()) and math.isfinite(norm := self.optimizer.gradient_norm()):
                if pooled:
                    encoded.pooled = in_order(pooled, len(encoded))
                return Gradients(in_order(outputs, len(encoded)).log_softmax(-1), loss, norm)
        except Exception as error:  # noqa: BLE001 - whatever a model raises for a text is that text's reason
            raise_if_it_is_the_machine(error, self.backbone.device, encoded.tokens)
            reason = Reason.MODEL_ERROR
        self.drop()
        self.random.reset(mark)
        return reason

    def _regularized(self, mean: Tensor, objective: Objective, part: Part, encoded: Encoded, logits: Tensor) -> Tensor:
        """Return the contribution of `part` to L + λR, given that to L, `mean`, if R depends on predictions."""
        pull = self.regularizer.per_text(part, encoded.tokens, logits) if self.regularizer else None
        if self.regularizer is None or pull is None:
            return mean
        return mean + self.regularizer.strength * objective.mean(pull, part.rows)

    def apply(self, gradients: Gradients) -> None:
        """Take the step θ_t = θ_{t−1} − η∇(L + λR)."""
        self.optimizer.step(gradients.norm)
        if self.regularizer:
            self.regularizer.apply()

    def drop(self) -> None:
        """Discard the gradient."""
        self.optimizer.zero_grad()
        if self.regularizer:
            self.regularizer.drop()

    def grow(self, name: str) -> None:
        """Add a column for the label `name`; the optimiser keeps its moments for the others."""
        if self.columns:
            with self.random:
                replaced = grow_head(self.model, 1)
            self.backbone.heads += 1
            for old, new in replaced:
                self.optimizer.replace(old, new)
        self.columns.append(name)

    def shrink(self, count: int) -> None:
        """Remove the columns after the first `count`, on which no step has been taken."""
        if len(self.columns) > max(1, count):
            with self.random:
                replaced = shrink_head(self.model, max(1, count))
            self.backbone.heads += 1
            for old, new in replaced:
                self.optimizer.replace(old, new)
        del self.columns[count:]

    def restart(self) -> None:
        """Start over with the model and the head as loaded; labels added since then get new columns."""
        base_of(self.model).load_state_dict(self.backbone.frozen.base.state_dict(), strict=not self.adapted)
        with self.random:
            draw_head(self.model, self.columns or [NO_LABEL_YET])
        self.backbone.heads += 1
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in self._first:
                    first = self._first[name]
                    rows = min(len(first), len(parameter))
                    parameter[:rows] = first[:rows]
        self.model.train(self._config.dropout > 0.0)
        self.optimizer = Optimizer(select(self.model, self._config), self._config)
        if self.regularizer:
            self.regularizer.restart()

    @property
    def finite(self) -> bool:
        """Whether all trained parameters are finite."""
        return math.isfinite(self.optimizer.parameter_norm())

    @property
    def adapted(self) -> bool:
        """Whether adapters are trained besides the head."""
        return self._config.trains == "lora"

    @property
    def width(self) -> int:
        """How many outputs the head has."""
        return output_layer(self.model)[2].out_features

    def weights(self, state: State | None = None) -> dict[str, Tensor]:
        """Return θ by parameter name, on the CPU; tensors in `state`, made just now, are not copied again."""
        return self._weights.complete(state and state["weights"])

    def adapter(self) -> Adapter | None:
        """Return a copy of the adapters, for the model without its head, or None if there are none."""
        return as_peft_has_it(base_of(self.model), self._config) if self.adapted else None

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Replace θ by `weights`, by parameter name and for the same labels."""
        self._weights.put(weights)

    def state(self) -> State:
        """Return the trained part of θ, the states of optimiser and regulariser, the columns and the random state."""
        pull = self.regularizer
        return {
            "columns": list(self.columns),
            **self._weights.state(),
            "optimizer": self.optimizer.state(),
            **({"regularizer": {"name": pull.name, **pull.state()}} if pull else {}),
            **dict(zip(("random", "random_cuda"), self.random.mark(), strict=False)),
        }

    def load(self, state: State) -> None:
        """Continue from `state`, growing the head to its labels first."""
        for name in state["columns"][len(self.columns) :]:
            self.grow(name)
        self.columns = list(state["columns"])
        self._weights.load(state)
        self.optimizer.load(state["optimizer"])
        saved = state.get("regularizer", {})
        if self.regularizer and saved.get("name") == self.regularizer.name:
            self.regularizer.load(saved)
        elif saved.get("name", "none") != self._config.regularizer:
            log.warning("updater.regularizer changed since the checkpoint: what it goes by starts over")
        self.random.reset(tuple(state[name] for name in ("random", "random_cuda") if name in state))


def _fed(forward: Forward, texts: Sequence[NDArray[np.int32]]) -> Tensor | None:
    """Return the input of the head for `texts`, run together and then one by one; None if the model raises.

    It is more informative than the output: a head without labels has one column, whose probability is always 1.
    """
    states = list[Tensor]()
    try:
        for together in (texts, *([text] for text in texts)):
            pooled: Rows = []
            forward.predict(together, pooled)
            states.append(in_order(pooled, len(together)))
    except Exception as error:  # noqa: BLE001 - there is no end to what a model may raise
        log.debug("what the head is fed with cannot be seen: %s", error)
        return None
    return torch.cat(states)


def _near(found: Tensor | None, expected: Tensor | None) -> bool:
    if found is None or expected is None or found.shape != expected.shape:
        return False
    return bool(((found - expected).abs() <= NEAR * (1.0 + expected.abs().max())).all())
