"""The loop of a tutorial, kept running: Hugging Face's sequence classifier, AdamW, each micro-batch once, no replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from streamlearn.local.data import minilm

TOKENS = 128
SETTINGS: dict[str, Any] = {"together": 4, "rate": 1e-4}
TRIED = [{"together": together, "rate": rate} for together in (8, 4) for rate in (1e-4, 2e-4, 5e-5)]


class Learner:
    """MiniLM, all of whose parameters are trained, with the dropout that it comes with."""

    def __init__(self, labels: list[str], settings: Mapping[str, Any]) -> None:
        torch.manual_seed(0)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm()))
        self._model = transformers.AutoModelForSequenceClassification.from_pretrained(
            str(minilm()), num_labels=len(labels)
        )
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=settings["rate"])

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each label."""
        logits = self._model.eval()(**self._tokens(texts)).logits
        shares: NDArray[np.float64] = logits.double().softmax(-1).numpy()
        return shares

    def learn(self, texts: Sequence[str], targets: Sequence[int]) -> None:
        """Take one step on the mean loss of `texts`."""
        self._model.train()(**self._tokens(texts), labels=torch.tensor(targets)).loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self._tokenizer(list(texts), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
