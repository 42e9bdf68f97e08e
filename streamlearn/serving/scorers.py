"""What gives the probabilities: the learner's own updater, or a classifier of Hugging Face's alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from streamlearn.events import Label
from streamlearn.serving.predictor import Kind
from streamlearn.updater.experts.transformer.device import is_out_of_memory
from streamlearn.updater.experts.transformer.tokenizer import panics_as_errors


class TransformerScorer:
    """A transformer alone, one text after the other, which suits each architecture; see :class:`Scorer`.

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
        except Exception as error:  # whatever a model raises for a text is that text's affair
            if is_out_of_memory(error):
                raise
            return torch.full((len(self.labels),), math.nan)
