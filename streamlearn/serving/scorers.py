"""The sources of probabilities: the learner's own updater, or a plain Hugging Face classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from streamlearn.events import Event, Label
from streamlearn.serving.predictor import Kind
from streamlearn.updater import Updater
from streamlearn.updater.experts.transformer.device import is_out_of_memory
from streamlearn.updater.experts.transformer.tokenizer import panics_as_errors


class MixtureScorer:
    """The mixture, through an updater loaded from a snapshot; see :class:`Scorer`."""

    predictor: ClassVar[Kind] = "mixture"

    def __init__(self, updater: Updater) -> None:
        self._updater = updater
        self.labels: list[Label] = list(updater.labels)

    def log_probabilities(self, texts: Sequence[str]) -> Tensor:
        """Return the log-probabilities of `texts`, of shape (texts, labels); NaN where tokenizer or model raises."""
        encoded, _ = self._updater.encode_each([Event(text, "", "", 0.0, "", 0, 0) for text in texts])
        whole = torch.full((len(texts), len(self.labels)), math.nan, dtype=torch.float64)
        if not encoded:
            return whole
        log_probabilities = self._updater.log_probabilities(list(encoded.values()))
        if len(encoded) == len(texts):
            return log_probabilities
        whole[list(encoded)] = log_probabilities.double()
        return whole


class TransformerScorer:
    """A transformer alone, one text at a time, which works for every architecture; see :class:`Scorer`.

    Parameters
    ----------
    model, tokenizer
        As :func:`load_published` returns them.

    """

    predictor: ClassVar[Kind] = "transformer"

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        self.labels: list[Label] = [name for _, name in sorted(dict(model.config.id2label or {}).items())]

    def log_probabilities(self, texts: Sequence[str]) -> Tensor:
        """Return the log-probabilities of `texts`, of shape (texts, labels); NaN where tokenizer or model raises."""
        return torch.stack([self._row(text) for text in texts])

    def _row(self, text: str) -> Tensor:
        try:
            with torch.no_grad(), panics_as_errors():
                logits: Tensor = self._model(**self._tokenizer(text, truncation=True, return_tensors="pt")).logits
            return logits[0].float().log_softmax(-1)
        except Exception as error:  # whatever a model raises for a text concerns only that text
            if is_out_of_memory(error):
                raise
            return torch.full((len(self.labels),), math.nan)
