"""Where the model runs and in which precision, and which errors are the machine's."""

from __future__ import annotations

import torch

from streamlearn.errors import ConfigurationError


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


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` says that there is no memory; torch has no type of its own for the CPU's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
