"""Weights by name: copied, put back, and told apart from others by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def copied(tensor: Tensor) -> Tensor:
    """Return a copy of `tensor` on the CPU."""
    return tensor.detach().to("cpu", copy=True)


def put(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Let `parameters` have these `values`, by their names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


@contextmanager
def unmoved(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Put `parameters` back, behind the context, to what they were before it."""
    before = {name: copied(parameter) for name, parameter in parameters.items()}
    try:
        yield
    finally:
        put(parameters, before)


def digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of `weights`, which come by their names in an order that is always the same."""
    found = hashlib.sha256()
    for name, tensor in weights:
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
