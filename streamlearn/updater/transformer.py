"""The transformer expert: a classifier of Hugging Face's, learning from micro-batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its name in the field
from numpy.typing import NDArray
from torch import Tensor

from streamlearn.config import Updater as UpdaterConfig
from streamlearn.errors import ConfigurationError
from streamlearn.state import State
from streamlearn.updater.batches import Part, collate
from streamlearn.updater.model import grow_head, load_model
from streamlearn.updater.optimizer import Optimizer
from streamlearn.updater.trainable import select


@dataclass(frozen=True)
class Learnt:
    """What one step of an expert gives.

    ``log_probabilities`` is of shape (texts, labels) and was computed before θ moved; ``losses`` is of shape
    (texts,). ``applied`` is False where a loss or the gradient was not finite and θ stayed as it was.
    """

    log_probabilities: Tensor
    losses: Tensor
    gradient_norm: float
    applied: bool


class TransformerExpert:
    """Learns labels from token ids by the cross-entropy of a sequence classification head.

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

    """

    def __init__(self, config: UpdaterConfig, labels: list[str]) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self._config = config
        self._device = choose_device(config.device)
        self._autocast = choose_precision(config.precision, self._device)
        model, self.tokenizer, self.columns = load_model(config, labels)
        self.model = model
        self.model.to(self._device)  # type: ignore[arg-type]  # its annotation is a decorator's
        self.model.train(config.dropout > 0.0)
        self.optimizer = Optimizer(select(self.model, config), config)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the token ids of each text, each of shape (tokens,), cut at ``max_tokens``."""
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=self._config.max_tokens, return_attention_mask=False
        )
        return [np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"]]

    def predict(self, tokens: Sequence[NDArray[np.int32]]) -> Tensor:
        """Return the log-probabilities of shape (texts, labels)."""
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            outputs = [(part, self._forward(part)) for part in self.parts(tokens)]
        self.model.train(training)
        return self._in_order(outputs, len(tokens)).log_softmax(-1)

    def learn(self, tokens: Sequence[NDArray[np.int32]], targets: Sequence[int]) -> Learnt:
        """Take one step on the whole micro-batch; its gradient is that of the mean loss over all its texts.

        Parameters
        ----------
        tokens
            The token ids of each text.
        targets
            The column of each text's label.

        """
        wanted = torch.tensor(targets, device=self._device)
        outputs, losses = [], []
        for part in self.parts(tokens):
            logits = self._forward(part)
            loss = F.cross_entropy(logits, wanted[part.rows], reduction="none")
            (loss.sum() / len(tokens)).backward()
            outputs.append((part, logits.detach()))
            losses.append((part, loss.detach()))
        loss = self._in_order(losses, len(tokens))
        if bool(torch.isfinite(loss).all()):
            norm, applied = self.optimizer.step()
        else:
            self.optimizer.zero_grad()
            norm, applied = math.nan, False
        log_probabilities = self._in_order(outputs, len(tokens)).log_softmax(-1)
        return Learnt(log_probabilities=log_probabilities, losses=loss, gradient_norm=norm, applied=applied)

    def parts(self, tokens: Sequence[NDArray[np.int32]]) -> list[Part]:
        """Return the padded parts in which `tokens` go through the model."""
        return collate(tokens, padding=self.model.config.pad_token_id, device=self._device)

    def _forward(self, part: Part) -> Tensor:
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            logits: Tensor = self.model(input_ids=part.input_ids, attention_mask=part.attention_mask).logits
        return logits.float()

    def _in_order(self, outputs: list[tuple[Part, Tensor]], count: int) -> Tensor:
        """Put the rows of each part back to their places in the micro-batch."""
        whole = torch.empty(count, *outputs[0][1].shape[1:])
        for part, values in outputs:
            whole[part.rows] = values.cpu()
        return whole

    def grow(self, name: str) -> None:
        """Give the label `name` a column; the optimiser keeps what it knows of the others."""
        if self.columns:
            for old, new in grow_head(self.model, 1):
                self.optimizer.replace(old, new)
        self.columns.append(name)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of θ by parameter name, on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.model.state_dict().items()}

    def model_config(self) -> Any:
        """Return a copy of the model's configuration with the real label names."""
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        config.id2label = dict(enumerate(self.columns))
        config.label2id = {name: column for column, name in enumerate(self.columns)}
        return config

    def state(self) -> State:
        """Return θ, the optimiser's state, the head's columns and torch's random state."""
        state: State = {
            "columns": list(self.columns),
            "weights": self.weights(),
            "optimizer": self.optimizer.state(),
            "random": torch.get_rng_state(),
        }
        if self._device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self._device)
        return state

    def load(self, state: State) -> None:
        """Continue from `state`, growing the head to its labels first."""
        for name in state["columns"][len(self.columns) :]:
            self.grow(name)
        self.columns = list(state["columns"])
        self.model.load_state_dict(state["weights"])
        self.optimizer.load(state["optimizer"])
        torch.set_rng_state(state["random"])
        if "random_cuda" in state and self._device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self._device)


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` is CUDA where there is one.

    Raises
    ------
    ConfigurationError
        If this torch does not know the device or the machine does not have it.

    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigurationError(f"updater.device: '{name}' cannot be used here: {first}") from None
    return device


def choose_precision(name: str, device: torch.device) -> bool:
    """Return whether the forward pass runs in bfloat16; ``auto`` does so on CUDA devices that support it."""
    if name == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return name == "bf16"
