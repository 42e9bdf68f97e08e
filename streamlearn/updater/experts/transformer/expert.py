"""The transformer expert: a classifier of Hugging Face's, learning from micro-batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.errors import ConfigurationError, DeviceError
from streamlearn.events import Reason
from streamlearn.state import State
from streamlearn.updater.experts.expert import Gradients
from streamlearn.updater.experts.transformer.batches import Part, collate, inputs
from streamlearn.updater.experts.transformer.device import choose_device, choose_precision, is_out_of_memory
from streamlearn.updater.experts.transformer.fingerprint import fingerprint
from streamlearn.updater.experts.transformer.head import grow_head, output_layer, problem_type, shrink_head
from streamlearn.updater.experts.transformer.inputs import find_layout, probe_texts
from streamlearn.updater.experts.transformer.model import load_model, one_sentence
from streamlearn.updater.experts.transformer.optimizer import Optimizer
from streamlearn.updater.experts.transformer.pooling import pool, tapped
from streamlearn.updater.experts.transformer.probe import mixed_lengths, probe_step
from streamlearn.updater.experts.transformer.tokenizer import panics_as_errors
from streamlearn.updater.experts.transformer.trainable import select
from streamlearn.updater.features import Encoded, Feature
from streamlearn.updater.objective import Objective
from streamlearn.updater.randomness import OwnRandom

Rows = list[tuple[Part, Tensor]]
"""What each part gives, of shape (texts of the part, …)."""


class TransformerExpert:
    """Learns labels from token ids by the cross-entropy of a sequence classification head.

    What a model cannot do is found here: it is tried on a few texts, and θ, the optimiser and the random state are
    afterwards what they would be without.

    Parameters
    ----------
    config
        The model, what of it trains, and how.
    labels
        The names of the labels known from the start, or none.

    Attributes
    ----------
    columns
        The names of the head's columns.
    random
        What dropout and new columns draw from.

    """

    name: ClassVar[str] = "transformer"
    reads: ClassVar[frozenset[Feature]] = frozenset()
    replays: ClassVar[bool] = True

    def __init__(self, config: UpdaterConfig, labels: list[str]) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self._config = config
        self._device = choose_device(config.device)
        self._autocast = choose_precision(config.precision, self._device)
        self.random = OwnRandom(config.seed, self._device)
        with self.random:
            model, self.tokenizer, self.columns = load_model(config, labels)
        self.model = model
        with one_sentence(f"updater.model: '{config.model}' cannot be used", ConfigurationError):
            output_layer(self.model)
            self._layout = find_layout(self.model, self.tokenizer, config.max_tokens)
            self.model.to(self._device)  # type: ignore[arg-type]  # its annotation is a decorator's
            self.model.train(config.dropout > 0.0)
            self.optimizer = Optimizer(select(self.model, config), config)
        self._probe()

    def embeddings(self) -> Tensor:
        """Return the token embeddings of now, of shape (vocabulary, dimensions); training does not move them."""
        table: Tensor = self.model.get_input_embeddings().weight  # type: ignore[assignment]
        return table.detach().clone() if table.requires_grad else table

    def _probe(self) -> None:
        """Take a step on texts of mixed length, then put everything back."""
        weights, mark = self.weights(), self.random.mark()
        texts = mixed_lengths(*self.encode(probe_texts(self.tokenizer, self._config.max_tokens)))
        with self.random:
            parts = collate(texts, self._layout, device=self._device, overhead=10**9)
            probe_step(parts, self._forward, self.optimizer, self._config)
        self.random.reset(mark)
        self.model.load_state_dict(weights)
        self.model.zero_grad(set_to_none=True)
        self.optimizer = Optimizer(select(self.model, self._config), self._config)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the token ids of each text, each of shape (tokens,), cut at ``max_tokens``."""
        with panics_as_errors():
            encoded = self.tokenizer(
                list(texts), truncation=True, max_length=self._config.max_tokens, return_attention_mask=False
            )
        nothing = [self._layout.padding]  # a text of which the tokenizer keeps nothing is read as one pad token
        return [np.asarray(ids or nothing, dtype=np.int32) for ids in encoded["input_ids"]]

    @cached_property
    def encoding(self) -> State:
        """What decides the token ids of a text."""
        return {"max_tokens": self._config.max_tokens, "tokenizer": fingerprint(self.tokenizer)}

    def predict(self, encoded: Encoded) -> Tensor:
        """Return the log-probabilities of shape (texts, labels), NaN for a text at which the model raises.

        The pooled states are handed on with `encoded` where they are wanted.
        """
        try:
            return self._predict(encoded)
        except Exception as error:  # noqa: BLE001 - whatever a model raises for a text is that text's affair
            self._raise_if_it_is_the_machine(error, len(encoded))
        if len(encoded) > 1:
            middle = len(encoded) // 2
            halves = [encoded.take(range(middle)), encoded.take(range(middle, len(encoded)))]
            log_probabilities = torch.cat([self.predict(half) for half in halves])
            if "pooled" in encoded.wanted:
                encoded.pooled = torch.cat([half.pooled for half in halves if half.pooled is not None])
            return log_probabilities
        if "pooled" in encoded.wanted:
            encoded.pooled = torch.full((1, output_layer(self.model)[2].in_features), math.nan)
        return torch.full((1, max(1, len(self.columns))), math.nan)

    def _predict(self, encoded: Encoded) -> Tensor:
        training, mark = self.model.training, self.random.mark()
        outputs: Rows = []
        pooled: Rows | None = [] if "pooled" in encoded.wanted else None
        self.model.eval()
        try:
            with torch.no_grad(), self.random:
                for part in self.parts(encoded.tokens):
                    outputs.append((part, self._forward(part, pooled)))
        finally:
            self.model.train(training)
            self.random.reset(mark)
        self._hand_on(pooled, encoded)
        return self._in_order(outputs, len(encoded)).log_softmax(-1)

    def gradients(
        self, encoded: Encoded, targets: Sequence[int], weights: Sequence[float] | None = None, *, apart: bool = False
    ) -> Gradients | Reason:
        """Leave the gradient with the parameters, or nothing where it or a loss is not finite or the model raises.

        As :class:`~streamlearn.updater.experts.expert.Expert` says; the pooled states are handed on with `encoded`
        where they are wanted. With `apart` each text goes through the model alone, which changes nothing but the time
        where they can go together.
        """
        mark = self.random.mark()
        outputs: Rows = []
        losses: Rows = []
        pooled: Rows | None = [] if "pooled" in encoded.wanted else None
        reason = Reason.NOT_FINITE
        try:
            with self.random:
                objective = Objective(targets, weights, device=self._device)
                for part in self._apart(encoded.tokens) if apart else self.parts(encoded.tokens):
                    logits = self._forward(part, pooled)
                    loss = objective.losses(logits, part.rows)
                    objective.mean(loss, part.rows).backward()
                    outputs.append((part, logits.detach()))
                    losses.append((part, loss.detach()))
            loss = self._in_order(losses, len(encoded))
            if bool(torch.isfinite(loss).all()) and math.isfinite(norm := self.optimizer.gradient_norm()):
                self._hand_on(pooled, encoded)
                return Gradients(self._in_order(outputs, len(encoded)).log_softmax(-1), loss, norm)
        except Exception as error:  # noqa: BLE001 - whatever a model raises for a text is that text's reason
            self._raise_if_it_is_the_machine(error, len(encoded))
            reason = Reason.MODEL_ERROR
        self.drop()
        self.random.reset(mark)
        return reason

    def apply(self, gradients: Gradients) -> None:
        """Take the step θ_t = θ_{t−1} − η∇(L + λR)."""
        self.optimizer.step(gradients.norm)

    def drop(self) -> None:
        """Forget the gradient."""
        self.optimizer.zero_grad()

    def _raise_if_it_is_the_machine(self, error: Exception, texts: int) -> None:
        """Raise where `error` is the machine's, which has no memory or whose device has failed, and not a text's."""
        if is_out_of_memory(error):
            self.optimizer.zero_grad()
            raise DeviceError(
                f"there is no memory on {self._device} for {texts} texts of up to {self._config.max_tokens} tokens: "
                "lower updater.micro_batch, updater.replay_ratio or updater.max_tokens, or give it more"
            ) from None
        if isinstance(error, torch.AcceleratorError):  # after it nothing runs on the device any more
            raise DeviceError(f"{self._device} has failed: {str(error).splitlines()[0]}") from error

    def parts(self, tokens: Sequence[NDArray[np.int32]]) -> list[Part]:
        """Return the padded parts in which `tokens` go through the model."""
        return collate(tokens, self._layout, device=self._device)

    def _apart(self, tokens: Sequence[NDArray[np.int32]]) -> list[Part]:
        """Return a part for each of `tokens`, so that none meets the padding that another one needs."""
        return [replace(part, rows=[row]) for row, ids in enumerate(tokens) for part in self.parts([ids])]

    def _forward(self, part: Part, pooled: Rows | None = None) -> Tensor:
        """Return the logits of `part`, of shape (texts, labels); where there is a `pooled`, its states join it."""
        if pooled is None:
            return self._logits(part)
        with tapped(output_layer(self.model)[2]) as fed:
            logits = self._logits(part)
        pooled += [(part, pool(states, part.attention_mask)) for states in fed]
        return logits

    def _logits(self, part: Part) -> Tensor:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            logits: Tensor = self.model(**inputs(part, self._layout)).logits
        return logits.float()

    def _hand_on(self, pooled: Rows | None, encoded: Encoded) -> None:
        if pooled:
            encoded.pooled = self._in_order(pooled, len(encoded))

    def _in_order(self, outputs: Rows, count: int) -> Tensor:
        """Put the rows of each part back into their order in the micro-batch."""
        whole = torch.empty(count, *outputs[0][1].shape[1:])
        for part, values in outputs:
            whole[part.rows] = values.cpu()
        return whole

    def grow(self, name: str) -> None:
        """Give the label `name` a column; the optimiser keeps what it knows of the others."""
        if self.columns:
            with self.random:
                replaced = grow_head(self.model, 1)
            for old, new in replaced:
                self.optimizer.replace(old, new)
        self.columns.append(name)

    def shrink(self, count: int) -> None:
        """Take back the columns after the first `count`, on which no step has been taken."""
        if len(self.columns) > max(1, count):
            with self.random:
                replaced = shrink_head(self.model, max(1, count))
            for old, new in replaced:
                self.optimizer.replace(old, new)
        del self.columns[count:]

    @property
    def width(self) -> int:
        """How many outputs the head has."""
        return output_layer(self.model)[2].out_features

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of θ by parameter name, on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}

    def model_config(self) -> Any:
        """Return a copy of the model's configuration with the real label names."""
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        config.problem_type = problem_type(len(self.columns))
        config.id2label = dict(enumerate(self.columns))
        config.label2id = {name: column for column, name in enumerate(self.columns)}
        return config

    def state(self) -> State:
        """Return θ, the optimiser's state, the head's columns and the random state."""
        return {
            "columns": list(self.columns),
            "weights": self.weights(),
            "optimizer": self.optimizer.state(),
            **dict(zip(("random", "random_cuda"), self.random.mark(), strict=False)),
        }

    def load(self, state: State) -> None:
        """Continue from `state`, growing the head to its labels first."""
        for name in state["columns"][len(self.columns) :]:
            self.grow(name)
        self.columns = list(state["columns"])
        self.model.load_state_dict(state["weights"])
        self.optimizer.load(state["optimizer"])
        self.random.reset(tuple(state[name] for name in ("random", "random_cuda") if name in state))
