"""The pre-trained model from before any learning: the outputs of its layers for a text, which never change.

Texts go through it one at a time. So the output depends on the text alone, to the bit, whatever else is in the
micro-batch, and can be cached or recomputed as memory allows without any difference.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from streamlearn.updater.experts.transformer.head import is_pooler

OVERHEAD = 300  # bytes of a cache entry besides its tensors

Run = Callable[[nn.Module, NDArray[np.int32]], Any]
"""Runs a model without a head on the token ids of one text."""


@dataclass(frozen=True)
class Embedding:
    """The mean over a text's tokens of the outputs of the model's ``last`` and ``middle`` layers.

    Both are of shape (hidden,), float32 and on the CPU.
    """

    last: Tensor
    middle: Tensor


class _Reached(Exception):  # noqa: N818 - it is no error
    """Raised when the last requested layer has been computed."""


class Bypass:
    """Replaces layers: the output that the last of them would have is set here beforehand.

    Parameters
    ----------
    layers
        The layers that need not run.
    as_tuple
        Whether such a layer returns a tuple.

    """

    def __init__(self, layers: Sequence[nn.Module], *, as_tuple: bool) -> None:
        self.states: Tensor | None = None
        self._layers = layers
        self._as_tuple = as_tuple
        for layer in layers:
            layer.forward = self._pass

    def remove(self) -> None:
        """Restore the layers."""
        for layer in self._layers:
            del layer.__dict__["forward"]

    def _pass(self, *_: Any, **__: Any) -> Any:
        return (self.states,) if self._as_tuple else self.states


class FrozenModel:
    """A copy of a pre-trained model without its head, with a cache of its outputs for recent texts.

    Parameters
    ----------
    base
        The model, whose parameters are copied, except those that never change.
    stay
        The parameters that never change; they are shared.
    layers
        Returns the layers of such a model, in order.
    cut
        The number of bottom layers whose :meth:`states` are wanted; 0 for none.
    run
        Runs such a model on one text.
    adapted
        The ids of shared parameters that differ in the published model.

    Attributes
    ----------
    cut
        As given.
    bytes
        The memory limit of the cache.
    digest
        The SHA-256 of the parameters that features are made with, as they were copied.

    """

    def __init__(
        self,
        base: PreTrainedModel,
        stay: Iterable[nn.Parameter],
        layers: Callable[[PreTrainedModel], Sequence[nn.Module]],
        *,
        cut: int,
        run: Run,
        adapted: Collection[int] = (),
    ) -> None:
        shared = {id(parameter): parameter for parameter in stay}
        self.base = copy.deepcopy(base, memo=dict(shared))
        self.base.requires_grad_(False)
        self.base.eval()
        self.bytes = 0
        self._own = {n: p for n, p in self.base.named_parameters() if id(p) not in shared or id(p) in adapted}
        self._layers = layers(self.base)
        self._middle = len(self._layers) // 2
        self.cut = cut
        self._run = run
        self.digest = _digest(self.base)
        self._kept: OrderedDict[tuple[str, bytes], tuple[Tensor, ...]] = OrderedDict()
        self._held = 0

    def embed(self, tokens: NDArray[np.int32]) -> Embedding:
        """Return the embedding of a text, given as token ids of shape (tokens,)."""
        kept = self._recall("embedding", tokens)
        if kept is None:
            with torch.no_grad(), self._passed(self._middle, self.cut) as passed:
                last = self._run(self.base, tokens).last_hidden_state[0].float()
            middle = passed[self._middle] if self._middle else last
            kept = last.mean(0).cpu(), middle.float().mean(0).cpu()
            self._keep("embedding", tokens, kept)
            if self.cut:
                self._keep("states", tokens, (passed[self.cut].float().cpu(),))
        return Embedding(*kept)

    def states(self, tokens: NDArray[np.int32]) -> Tensor:
        """Return a text's states after the layers below the cut, of shape (tokens, hidden), float32 and on the CPU."""
        kept = self._recall("states", tokens)
        if kept is None:
            with torch.no_grad(), self._passed(self.cut, stop=True) as passed, suppress(_Reached):
                self._run(self.base, tokens)
            kept = (passed[self.cut].float().cpu(),)
            self._keep("states", tokens, kept)
        return kept[0]

    @contextmanager
    def _passed(self, *numbers: int, stop: bool = False) -> Iterator[dict[int, Tensor]]:
        """Record the outputs after the layers `numbers`, and with `stop` end the computation there."""
        passed: dict[int, Tensor] = {}

        def note(number: int) -> Callable[[nn.Module, Any, Any], None]:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                passed[number] = (output[0] if isinstance(output, tuple) else output)[0].detach()
                if stop:
                    raise _Reached

            return hook

        hooks = [self._layers[n - 1].register_forward_hook(note(n)) for n in set(numbers) if n]
        try:
            yield passed
        finally:
            for hook in hooks:
                hook.remove()

    def weights(self) -> dict[str, Tensor]:
        """Return the parameters that are missing from the published model, by name; they never change."""
        return {name: parameter.detach().cpu() for name, parameter in self._own.items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the parameters that are not shared by those in `weights`."""
        for name, parameter in self._own.items():
            if name in weights:
                parameter.data.copy_(weights[name])
        self.digest = _digest(self.base)
        self.forget()

    def forget(self) -> None:
        """Clear the cache, because parameters, including shared ones, have changed."""
        self._kept.clear()
        self._held = 0

    def _recall(self, what: str, tokens: NDArray[np.int32]) -> tuple[Tensor, ...] | None:
        key = what, tokens.tobytes()
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _keep(self, what: str, tokens: NDArray[np.int32], tensors: tuple[Tensor, ...]) -> None:
        key = what, tokens.tobytes()
        if key not in self._kept:
            self._kept[key] = tensors
            self._held += _size(key, tensors)
        self.keep_within(self.bytes)

    def keep_within(self, most: int) -> None:
        """Evict the least recently used entries until the cache takes at most `most` bytes."""
        self.bytes = most
        while self._held > most:
            key, tensors = self._kept.popitem(last=False)
            self._held -= _size(key, tensors)


def _digest(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if is_pooler(name):
            continue
        digest.update(name.encode())
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _size(key: tuple[str, bytes], tensors: Iterable[Tensor]) -> int:
    return OVERHEAD + len(key[1]) + sum(tensor.nbytes for tensor in tensors)
