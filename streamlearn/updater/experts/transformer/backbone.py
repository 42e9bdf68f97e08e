"""The pre-trained model that everything starts from: its tokenizer, its embeddings, and the outputs of its layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.errors import ConfigurationError
from streamlearn.state import State
from streamlearn.updater.experts.transformer.batches import collate, inputs
from streamlearn.updater.experts.transformer.device import choose_device, choose_precision, raise_if_it_is_the_machine
from streamlearn.updater.experts.transformer.fingerprint import fingerprint
from streamlearn.updater.experts.transformer.frozen import Embedding, FrozenModel
from streamlearn.updater.experts.transformer.head import output_layer, problem_type
from streamlearn.updater.experts.transformer.inputs import find_layout, probe_texts
from streamlearn.updater.experts.transformer.lora import linear_layers
from streamlearn.updater.experts.transformer.model import load_model, one_sentence
from streamlearn.updater.experts.transformer.tokenizer import panics_as_errors
from streamlearn.updater.experts.transformer.trainable import base_of, layers_of, select
from streamlearn.updater.extraction import FeatureExtractor
from streamlearn.updater.features import Feature
from streamlearn.updater.randomness import OwnRandom


class Backbone:
    """A pre-trained classifier with its tokenizer, from which experts read features, and which one of them may train.

    Parameters
    ----------
    config
        The model, and where it runs.
    labels
        The names of the labels known from the start, or none.
    tuned
        Whether the model is trained, by the configuration.
    before
        If the model has been trained before: its original parameters by name below its base, and ``embeddings``, with
        which features are made.

    Attributes
    ----------
    model, tokenizer, layout
        As loaded, and how texts are laid out for the model.
    columns
        The names of the head's columns.
    device, autocast
        Where the model runs, and whether in bfloat16.
    heads
        How often the head has been replaced by one with other parameters.
    random
        The generator that drew the head, and is then used in its training.

    """

    def __init__(
        self,
        config: UpdaterConfig,
        labels: list[str],
        *,
        tuned: bool = True,
        before: Mapping[str, Tensor] = MappingProxyType({}),
        embeddings: Tensor | None = None,
    ) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self._config = config
        self._tuned = tuned
        self._before, self._embeddings_before = before, embeddings
        self.heads = 0
        self.device = choose_device(config.device)
        self.autocast = choose_precision(config.precision, self.device)
        self.random = OwnRandom(config.seed, self.device)
        with self.random:
            model, self.tokenizer, self.columns = load_model(config, labels)
        self.model = model
        with one_sentence(f"updater.model: '{config.model}' cannot be used", ConfigurationError):
            output_layer(self.model)
            self.layout = find_layout(self.model, self.tokenizer, config.max_tokens)
            self.model.to(self.device)  # type: ignore[arg-type]  # its annotation is a decorator's

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the token ids of each text, each of shape (tokens,), cut at ``max_tokens``."""
        with panics_as_errors():
            encoded = self.tokenizer(
                list(texts), truncation=True, max_length=self._config.max_tokens, return_attention_mask=False
            )
        nothing = [self.layout.padding]  # a text without tokens is read as one pad token
        return [np.asarray(ids or nothing, dtype=np.int32) for ids in encoded["input_ids"]]

    @cached_property
    def encoding(self) -> State:
        """The settings that decide the token ids of a text."""
        return {"max_tokens": self._config.max_tokens, "tokenizer": fingerprint(self.tokenizer)}

    def probes(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return a short text and one of the maximum length."""
        short, long = self.encode(probe_texts(self.tokenizer, self._config.max_tokens))
        return short, long

    @cached_property
    def embeddings(self) -> Tensor | None:
        """The model's initial token embeddings, of shape (vocabulary, dimensions), if any."""
        if self._embeddings_before is not None:
            return self._embeddings_before
        try:
            table = getattr(self.model.get_input_embeddings(), "weight", None)
        except NotImplementedError:  # CANINE hashes characters
            return None
        if not isinstance(table, Tensor):
            return None
        return table.detach().clone() if table.requires_grad else table.detach()

    @property
    def embeddings_moved(self) -> bool:
        """Whether the token embeddings of the model differ from :attr:`embeddings` by now."""
        if self.embeddings is None:
            return False
        table: Tensor = self.model.get_input_embeddings().weight  # type: ignore[assignment]
        return not torch.equal(table.detach(), self.embeddings)

    @cached_property
    def frozen(self) -> FrozenModel:
        """The model as it was loaded; must be accessed before training changes it."""
        base = base_of(self.model)
        moving, adapted = self._moving(), self._adapted()
        stays = [
            p
            for name, p in base.named_parameters()
            if (id(p) not in moving or id(p) in adapted) and name not in self._before
        ]
        frozen = FrozenModel(base, stays, _layers, cut=self.cut, run=self.run, adapted=adapted)
        if self._before:
            frozen.load(self._before)
        return frozen

    @property
    def stopped(self) -> list[str]:
        """The names of parameters that have been trained before but do not train any more."""
        if not self._tuned:
            return []
        moving = self._moving()
        return [
            name
            for name, parameter in base_of(self.model).named_parameters()
            if name in self._before and id(parameter) not in moving
        ]

    @property
    def is_frozen(self) -> bool:
        """Whether anything reads :attr:`frozen`."""
        return "frozen" in self.__dict__

    @cached_property
    def cut(self) -> int:
        """How many layers from the bottom, and everything before them, never change."""
        layers, moving = _layers(base_of(self.model)), self._moving()
        if not self._tuned or not layers:
            return 0
        first = next(layers[0].parameters())
        before = takewhile(lambda parameter: parameter is not first, base_of(self.model).parameters())
        if any(id(parameter) in moving for parameter in before):
            return 0
        trained = (any(id(parameter) in moving for parameter in layer.parameters()) for layer in layers)
        return next((index for index, moves in enumerate(trained) if moves), len(layers))

    def _moving(self) -> set[int]:
        if not self._tuned:
            return set()
        trained = select(self.model, self._config)
        return self._adapted() | {id(p) for p in (*trained.body, *trained.head, *trained.sparse)}

    def _adapted(self) -> set[int]:
        """Return the ids of the weights that never change but are replaced by adapted ones in the forward pass."""
        if not self._tuned or self._config.trains != "lora":
            return set()
        return {id(module.weight) for module in linear_layers(base_of(self.model), self._config).values()}

    def run(self, base: nn.Module, tokens: NDArray[np.int32]) -> Any:
        """Run `base`, a model without a head, on the token ids of one text."""
        (part,) = collate([tokens], self.layout, device=self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            return base(**inputs(part, self.layout))

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the model's weights by name, on the CPU: without its head if that is not trained."""
        model = self.model if self._tuned else base_of(self.model)
        return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}

    def model_config(self, columns: Sequence[str]) -> Any:
        """Return a copy of the model's configuration with `columns` as the names of its labels."""
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        config.problem_type = problem_type(len(columns))
        config.id2label = dict(enumerate(columns))
        config.label2id = {name: column for column, name in enumerate(columns)}
        return config

    @cached_property
    def offers(self) -> frozenset[Feature]:
        """The features that this model can provide, found by trying two texts."""
        offered: set[Feature] = {"ngrams", "pooled"}
        if self.embeddings is not None:
            offered.add("static")
        if self._embeds():
            offered.add("frozen")
            if len(_layers(base_of(self.model))) > 1:
                offered.add("middle")
        return frozenset(offered)

    def extractor(self, wanted: frozenset[Feature]) -> FeatureExtractor:
        """Return an extractor of the `wanted` features, all of which this model must offer."""
        special = self.tokenizer.all_special_ids
        embeddings = self.embeddings if "static" in wanted else None  # a copy if they train
        return FeatureExtractor(wanted, special=special, embeddings=embeddings, embed=self._embed)

    def _embed(self, tokens: NDArray[np.int32]) -> Embedding:
        """Return the frozen model's embedding of a text; DeviceError if the device is at fault."""
        try:
            return self.frozen.embed(tokens)
        except Exception as error:
            raise_if_it_is_the_machine(error, self.device, [tokens])
            raise

    def _embeds(self) -> bool:
        """Whether the model without its head returns a state for each token of a text."""
        if not _layers(base_of(self.model)):
            return False
        try:
            for text in self.probes():
                embedding = self.frozen.embed(text)
                if embedding.last.ndim != 1 or not bool(torch.isfinite(embedding.last).all()):
                    return False
        except Exception:  # noqa: BLE001 - whatever it raises, it does not give them
            return False
        return True


def _layers(base: PreTrainedModel) -> Sequence[nn.Module]:
    """Return the layers of a model without a head; none if they are a decoder's or cannot be told apart."""
    if base.config.is_encoder_decoder:
        return []
    try:
        return layers_of(base)
    except ConfigurationError:
        return []
