"""One step θ_t = θ_{t−1} − η∇(L + λR) on texts, which is taken completely or changes nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from streamlearn.config import Updater
from streamlearn.events import Reason
from streamlearn.state import State
from streamlearn.updater.experts.transformer.device import raise_if_it_is_the_machine
from streamlearn.updater.experts.transformer.optimizer import Optimizer
from streamlearn.updater.language.documents import Tokens
from streamlearn.updater.language.forward import Forward, add_up, losses
from streamlearn.updater.language.packing import Block
from streamlearn.updater.language.start import DivergenceFromStart, make_regularizer
from streamlearn.updater.randomness import Mark, OwnRandom

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learnt:
    """The result of both passes: the cost of the texts in ``nats``, of shape (texts,), and the gradient's norm."""

    nats: Tensor
    norm: float


class Descent:
    """Takes steps, L being the mean of −log p(token | those before it in its text) over the tokens of all texts.

    Parameters
    ----------
    forward
        Runs texts through the model, which is as loaded.
    optimizer
        Updates the trained parameters.
    random
        The generator for dropout.
    config
        The regulariser.

    Attributes
    ----------
    optimizer, regularizer
        The latter is R of L + λR, or None.

    """

    def __init__(self, forward: Forward, optimizer: Optimizer, random: OwnRandom, config: Updater) -> None:
        self._forward, self._random, self._config = forward, random, config
        self.optimizer = optimizer
        self.regularizer = make_regularizer(config, forward)

    def take(self, texts: Sequence[Tokens]) -> Learnt | Reason:
        """Take a step on `texts`, or return why that is impossible and change nothing.

        Raises
        ------
        DeviceError
            If the device runs out of memory or fails.

        """
        mark = self._random.mark()
        found = self.gradients(texts)
        if isinstance(found, Reason):
            self._drop(mark)
            return found
        self.optimizer.step(found.norm)
        if self.regularizer:
            self.regularizer.apply()
        return found

    def objection(self, texts: Sequence[Tokens]) -> Reason | None:
        """Return why no step can be taken on `texts`, or None if one can; nothing changes."""
        mark = self._random.mark()
        found = self.gradients(texts)
        self._drop(mark)
        return found if isinstance(found, Reason) else None

    def gradients(self, texts: Sequence[Tokens]) -> Learnt | Reason:
        """Compute the gradient of L + λR into the parameters, or return why there is no usable one."""
        nats, total = torch.zeros(len(texts), dtype=torch.float64), sum(self._forward.counts(texts))
        try:
            with self._random:
                for block in self._forward.blocks(texts):
                    logits = self._forward.logits(block)
                    found = losses(logits, block)
                    (self._regularized(found, block, logits).sum() / total).backward()
                    add_up(nats, block, found)
            if self.regularizer:
                self.regularizer.join(len(texts))
            norm = self.optimizer.gradient_norm()
        except Exception as error:  # noqa: BLE001 - whatever a model raises for a text is that text's reason
            raise_if_it_is_the_machine(error, self._forward.device, texts)
            return Reason.MODEL_ERROR
        good = bool(torch.isfinite(nats).all()) and math.isfinite(norm)
        return Learnt(nats, norm) if good else Reason.NOT_FINITE

    def _regularized(self, found: Tensor, block: Block, logits: Tensor) -> Tensor:
        """Return the contribution of each token of `block` to L + λR, if R depends on predictions."""
        if not isinstance(self.regularizer, DivergenceFromStart):
            return found
        return found + self.regularizer.strength * self.regularizer.per_token(block, logits)

    def _drop(self, mark: Mark) -> None:
        """Discard the gradient, and undo the random draws for it."""
        self.forget()
        self._random.reset(mark)

    def forget(self) -> None:
        """Discard the gradient, and what the regulariser has prepared."""
        self.optimizer.zero_grad()
        if self.regularizer:
            self.regularizer.drop()

    def state(self) -> State:
        """Return the states of the optimiser and, where there is one, of the regulariser."""
        pull = self.regularizer
        beside = {"regularizer": {"name": pull.name, **pull.state()}} if pull else {}
        return {"optimizer": self.optimizer.state(), **beside}

    def load(self, state: State) -> None:
        """Continue from `state`; the weights have been loaded. StateError if R would differ."""
        self.optimizer.load(state["optimizer"])
        saved = state.get("regularizer", {})
        if self.regularizer and saved.get("name") == self.regularizer.name:
            self.regularizer.load(saved)
        elif saved.get("name", "none") != self._config.regularizer:
            log.warning("updater.regularizer changed since the checkpoint: what it goes by starts over")
