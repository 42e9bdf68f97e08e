"""A sentence encoder as it comes (MiniLM, mean of its last layer, length 1) and a linear head that learns online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from river import linear_model, optim
from sklearn.linear_model import SGDClassifier

from benchmarks.peers.river_rows import rows
from streamlearn.local.data import minilm

TOKENS = 128
SETTINGS: dict[str, Any] = {"together": 4, "head": "river_sgd", "rate": 1.0, "alpha": 1e-6}
TRIED = [
    *({"head": "scikit_learn", "rate": rate, "alpha": alpha} for rate in (0.3, 1.0, 3.0) for alpha in (1e-6, 1e-4)),
    *({"head": "river_sgd", "rate": rate} for rate in (0.3, 1.0, 3.0)),
    *({"head": "river_adagrad", "rate": rate} for rate in (0.1, 0.3, 1.0)),
]


class Encoder:
    """Embeds texts with the frozen model; what is in `known` is not embedded again, which is for tuning alone."""

    def __init__(self) -> None:
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(minilm()))
        self._model = transformers.AutoModel.from_pretrained(str(minilm())).eval()
        self.known: dict[str, NDArray[np.float32]] = {}

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings, of shape (texts, dimensions)."""
        if all(text in self.known for text in texts):
            return np.stack([self.known[text] for text in texts])
        inputs = self._tokenizer(list(texts), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
        states, mask = self._model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        pooled = (states * mask).sum(1) / mask.sum(1)
        embedded: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
        return embedded


class ScikitLearnHead:
    """SGDClassifier with the logistic loss and a constant rate."""

    def __init__(self, labels: Sequence[str], settings: Mapping[str, Any]) -> None:
        self._classes = np.arange(len(labels))
        self._model = SGDClassifier(
            loss="log_loss", learning_rate="constant", eta0=settings["rate"], alpha=settings["alpha"], random_state=0
        )
        self._learnt = False

    def probabilities(self, embedded: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of each label; alike before anything has been learnt."""
        if not self._learnt:
            return np.full((len(embedded), len(self._classes)), 1.0 / len(self._classes))
        found: NDArray[np.float64] = self._model.predict_proba(embedded)
        return found

    def learn(self, embedded: NDArray[np.float32], targets: Sequence[int]) -> None:
        """Learn texts that have been embedded."""
        self._model.partial_fit(embedded, np.asarray(targets), classes=self._classes)
        self._learnt = True


class RiverHead:
    """river's softmax regression, by stochastic gradients or AdaGrad."""

    def __init__(self, labels: Sequence[str], settings: Mapping[str, Any]) -> None:
        self._labels = labels
        optimizer = optim.SGD if settings["head"] == "river_sgd" else optim.AdaGrad
        self._model = linear_model.SoftmaxRegression(optimizer=optimizer(settings["rate"]), l2=0.0)

    def probabilities(self, embedded: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of each label."""
        return rows(self._labels, (self._model.predict_proba_one(_named(vector)) for vector in embedded))

    def learn(self, embedded: NDArray[np.float32], targets: Sequence[int]) -> None:
        """Learn texts that have been embedded, one after the other."""
        for vector, target in zip(embedded, targets, strict=True):
            self._model.learn_one(_named(vector), self._labels[target])


class Learner:
    """The frozen encoder and its head; the text of an event goes through the encoder once."""

    def __init__(self, labels: list[str], settings: Mapping[str, Any]) -> None:
        self.encoder = Encoder()
        head = ScikitLearnHead if settings["head"] == "scikit_learn" else RiverHead
        self._head = head(labels, settings)
        self._last: tuple[tuple[str, ...], NDArray[np.float32]] | None = None

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the probability of each label."""
        return self._head.probabilities(self._embedded(texts))

    def learn(self, texts: Sequence[str], targets: Sequence[int]) -> None:
        """Learn `texts` one after the other."""
        self._head.learn(self._embedded(texts), targets)

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._last is None or self._last[0] != tuple(texts):
            self._last = tuple(texts), self.encoder.embed(texts)
        return self._last[1]


def _named(vector: NDArray[np.float32]) -> dict[int, float]:
    return dict(enumerate(vector.tolist()))
