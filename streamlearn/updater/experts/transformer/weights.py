"""The weights in a checkpoint: those that train. The rest is referred to by its digest and loaded from the model.

So the size of a checkpoint depends on what trains and not on the model. A weight that has been trained but does not
train any more is kept, because the model does not have it. Names are those of a model without adapters, and an
adapter's are its layer's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from streamlearn.errors import StateError
from streamlearn.state import State
from streamlearn.updater.experts.transformer.head import is_pooler
from streamlearn.updater.experts.transformer.lora import is_factor, merged, plain


class Weights:
    """The weights of a model, split into those that train and those that do not.

    Parameters
    ----------
    model
        A parameter trains if it requires a gradient. Its head may be replaced.
    name
        Its name in the configuration.

    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self._model = model
        self._name = name
        self._moved = set[str]()  # weights that do not train, but differ from the model's
        self._digests: dict[str, str] = {}

    def _held(self) -> dict[str, Tensor]:
        """Return the weights for a checkpoint, by name: those that train or have, and those that no file guarantees.

        A pooler may have been initialised at random, and buffers may change with each text.
        """
        parameters = {
            name: parameter.detach()
            for name, parameter in self._parameters().items()
            if parameter.requires_grad or name in self._moved or is_pooler(name)
        }
        saved, known = self._model.state_dict(), dict(self._model.named_parameters(remove_duplicate=False))
        return parameters | {name: value for name, value in saved.items() if name not in known}

    def _parameters(self) -> dict[str, nn.Parameter]:
        """Return each parameter by its plain name, once."""
        return {plain(name): parameter for name, parameter in self._model.named_parameters()}

    def copy(self) -> dict[str, Tensor]:
        """Return a copy of the weights for a checkpoint, by name and on the CPU."""
        return {name: value.to("cpu", copy=True) for name, value in self._held().items()}

    def state(self) -> State:
        """Return that copy, and the SHA-256 of each weight that is not in it."""
        weights = self.copy()
        return {"weights": weights, "frozen": self._frozen(weights)}

    def _frozen(self, held: Mapping[str, Tensor]) -> dict[str, str]:
        rest = {name: p for name, p in self._parameters().items() if name not in held}
        for name in rest.keys() - self._digests.keys():
            self._digests[name] = digest_of(rest[name])  # once: it does not change
        return {name: self._digests[name] for name in rest}

    def load(self, state: State) -> None:
        """Load the weights of `state`, whose head has as many rows as the model's.

        Raises
        ------
        StateError
            If a weight that it refers to by its digest differs in this model.
        ValueError
            If it is the state of a model with other weights.

        """
        weights, frozen = state["weights"], state.get("frozen", {})
        known = {plain(name): value.shape for name, value in self._model.state_dict().items()}
        for name in (*weights, *frozen):
            if name not in known:
                raise ValueError(f"there is no weight {name} in it")
            if name in weights and weights[name].shape != known[name]:
                raise ValueError(f"{name} has the shape {tuple(known[name])} in it, not {tuple(weights[name].shape)}")
        own = self._parameters()
        missing = {name for name in own.keys() - weights.keys() - frozen.keys() if not is_factor(name)}
        if missing:
            raise ValueError(f"the checkpoint has no weight {min(missing)}")
        for name, digest in frozen.items():
            if digest_of(own[name]) != digest:
                raise StateError(
                    f"the weights of '{self._name}' are not those that the checkpoint was made with ({name} differs); "
                    "bring them back, or start over with another publisher.directory"
                )
        self._moved |= {name for name in weights if name in own and not torch.equal(weights[name], own[name].cpu())}
        self.put(weights)

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Replace weights of the model by `weights`, by name; others stay."""
        names = {plain(name): name for name in self._model.state_dict()}
        self._model.load_state_dict({names.get(name, name): value for name, value in weights.items()}, strict=False)

    def complete(self, held: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return all of θ by name, on the CPU, as in a weights file.

        Parameters
        ----------
        held
            What :meth:`copy` returned just now, which is not copied again; constant weights are not copied at all.

        Adapters are merged into their weights and left out themselves.
        """
        held = {**(self.copy() if held is None else held), **dict(merged(self._model))}
        first = {id(parameter): name for name, parameter in self._parameters().items()}
        whole, places = dict[str, Tensor](), set[int]()
        for own, kept in self._model.state_dict(keep_vars=True).items():
            if is_factor(own):
                continue
            name = plain(own)
            value = held.get(first.get(id(kept), name), kept.detach().cpu())
            place = value.untyped_storage().data_ptr()
            whole[name] = value.clone() if place in places else value  # a file cannot have two names for one tensor
            places.add(place)
        return whole


def digest_of(weight: Tensor) -> str:
    """Return the SHA-256 of the bits of `weight`."""
    raw = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(raw.numpy().data).hexdigest()
