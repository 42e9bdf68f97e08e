"""The forward pass of texts through a classifier: padded in parts, bypassing frozen layers, restored to their order."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from streamlearn.updater.experts.transformer.backbone import Backbone
from streamlearn.updater.experts.transformer.batches import Part, collate, inputs
from streamlearn.updater.experts.transformer.device import raise_if_it_is_the_machine
from streamlearn.updater.experts.transformer.frozen import Bypass
from streamlearn.updater.experts.transformer.head import output_layer
from streamlearn.updater.experts.transformer.pooling import pool, tapped

Tokens = Sequence[NDArray[np.int32]]
Rows = list[tuple[Part, Tensor]]
"""The output of each part, of shape (texts of the part, …)."""


class Forward:
    """Runs texts through `model`; frozen layers are skipped if there is a `bypass`.

    Parameters
    ----------
    backbone
        The backbone of the model, or of what it is a copy of.
    model
        The classifier.
    bypass
        Replaces its frozen layers.

    """

    def __init__(self, backbone: Backbone, model: PreTrainedModel, bypass: Bypass | None = None) -> None:
        self.model = model
        self._backbone = backbone
        self._bypass = bypass

    def parts(self, tokens: Tokens, *, apart: bool = False) -> list[Part]:
        """Return `tokens` in padded parts, or with `apart` in one part for each text.

        In the latter case no text is affected by the padding of another.
        """
        layout, device = self._backbone.layout, self._backbone.device
        if not apart:
            return collate(tokens, layout, device=device)
        alone = ((row, collate([ids], layout, device=device)) for row, ids in enumerate(tokens))
        return [replace(part, rows=[row]) for row, (part,) in alone]

    def logits(self, part: Part, tokens: Tokens, pooled: Rows | None = None) -> Tensor:
        """Return the logits of `part` of `tokens`, of shape (texts, labels); add its states to `pooled`."""
        if pooled is None:
            return self._logits(part, tokens)
        with tapped(output_layer(self.model)[2]) as fed:
            logits = self._logits(part, tokens)
        pooled += [(part, pool(states, part.attention_mask)) for states in fed]
        return logits

    def _logits(self, part: Part, tokens: Tokens) -> Tensor:
        backbone = self._backbone
        if self._bypass:
            states = [backbone.frozen.states(tokens[row]) for row in part.rows]
            self._bypass.states = padded(states, part, left=backbone.layout.side == "left")
        with torch.autocast(backbone.device.type, dtype=torch.bfloat16, enabled=backbone.autocast):
            logits: Tensor = self.model(**inputs(part, backbone.layout)).logits
        return logits.float()

    def predict(self, tokens: Tokens, pooled: Rows | None = None) -> Tensor:
        """Return the log-probabilities of `tokens`, of shape (texts, labels) and on the CPU, in evaluation mode."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                outputs = [(part, self.logits(part, tokens, pooled)) for part in self.parts(tokens)]
        finally:
            self.model.train(training)
        return in_order(outputs, len(tokens)).log_softmax(-1)

    def predict_each(self, tokens: Tokens, *, columns: int, pools: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return the log-probabilities as :meth:`predict` does, and with `pools` the pooled states, of (texts, hidden).

        The rows of texts on which the model raises are NaN.

        Raises
        ------
        DeviceError
            If the device runs out of memory or fails.

        """
        pooled: Rows | None = [] if pools else None
        try:
            log_probabilities = self.predict(tokens, pooled)
        except Exception as error:  # noqa: BLE001 - whatever a model raises for a text is that text's affair
            raise_if_it_is_the_machine(error, self._backbone.device, tokens)
        else:
            return log_probabilities, in_order(pooled, len(tokens)) if pooled else None
        if len(tokens) > 1:
            middle = len(tokens) // 2
            halves = [
                self.predict_each(half, columns=columns, pools=pools) for half in (tokens[:middle], tokens[middle:])
            ]
            states = [half[1] for half in halves if half[1] is not None]
            return torch.cat([half[0] for half in halves]), torch.cat(states) if pools else None
        nothing = torch.full((1, output_layer(self.model)[2].in_features), math.nan) if pools else None
        return torch.full((1, max(1, columns)), math.nan), nothing


def copy_of(backbone: Backbone) -> Forward:
    """Return a forward pass through a copy of the model of `backbone`, which keeps its current weights.

    What trains is copied, the rest shared. Layers that the model bypasses are bypassed by the copy, too.
    """
    model, bypass = backbone.model, None
    shared: dict[int, object] = {id(p): p for p in model.parameters() if not p.requires_grad}
    passed = [layer for layer in model.modules() if "forward" in layer.__dict__]
    if passed:
        bypass = passed[0].__dict__["forward"].__self__
        shared[id(bypass)] = bypass
    return Forward(backbone, copy.deepcopy(model, memo=shared).requires_grad_(False).eval(), bypass)


def padded(states: Sequence[Tensor], part: Part, *, left: bool) -> Tensor:
    """Return `states`, each of shape (tokens, hidden), as one of shape (texts, longest text, hidden), float32."""
    longest = part.input_ids.shape[1]
    whole = torch.zeros(len(states), longest, states[0].shape[-1], device=part.input_ids.device)
    for row, state in enumerate(states):
        place = slice(longest - len(state), None) if left else slice(len(state))
        whole[row, place] = state.to(whole.device)
    return whole


def in_order(outputs: Rows, count: int) -> Tensor:
    """Put the rows of each part back into their order in the micro-batch."""
    whole = torch.empty(count, *outputs[0][1].shape[1:])
    for part, values in outputs:
        whole[part.rows] = values.cpu()
    return whole
