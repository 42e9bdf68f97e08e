"""What of a model a checkpoint holds: what learns. What never moves is named by its digest, and comes from the model.

So a checkpoint grows with what trains and not with the model. A weight that does not train any more, but has, is held
on: the model does not have it. Names are those of a model without adapters, and an adapter's are its layer's.
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
    """The weights of a model of which some train, told apart.

    Parameters
    ----------
    model
        A parameter trains if it requires a gradient. Its head may be replaced.
    name
        What the configuration calls it.

    """

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self._model = model
        self._name = name
        self._moved = set[str]()  # what does not train, and yet is not what the model has
        self._digests: dict[str, str] = {}

    def _held(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds, by name: what trains or has, and what no file says for sure.

        A pooler may have been drawn, and buffers may move with each text.
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
        """Return a copy of what a checkpoint holds, by name and on the CPU."""
        return {name: value.to("cpu", copy=True) for name, value in self._held().items()}

    def state(self) -> State:
        """Return that copy, and the SHA-256 of each weight that is not in it."""
        weights = self.copy()
        return {"weights": weights, "frozen": self._frozen(weights)}

    def _frozen(self, held: Mapping[str, Tensor]) -> dict[str, str]:
        rest = {name: p for name, p in self._parameters().items() if name not in held}
        for name in rest.keys() - self._digests.keys():
            self._digests[name] = digest_of(rest[name])  # once: it does not move
        return {name: self._digests[name] for name in rest}

    def load(self, state: State) -> None:
        """Take the weights of `state`, whose head has as many rows as the model's.

        Raises
        ------
        StateError
            If a weight that it names by its digest is another one in this model.
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
        """Take `weights`, by name, in place of those of the model; others stay."""
        names = {plain(name): name for name in self._model.state_dict()}
        self._model.load_state_dict({names.get(name, name): value for name, value in weights.items()}, strict=False)

    def complete(self, held: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return all of θ by name, on the CPU, as a file of weights holds it.

        Parameters
        ----------
        held
            What :meth:`copy` returned just now, which is not copied again; what never moves is not copied at all.

        What adapters make of a weight stands in its place, and they themselves are left out.
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
            whole[name] = value.clone() if place in places else value  # a file has no two names for one tensor
            places.add(place)
        return whole


def digest_of(weight: Tensor) -> str:
    """Return the SHA-256 of the bits of `weight`."""
    raw = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(raw.numpy().data).hexdigest()
