"""Where the model runs and in which precision, and which errors are the device's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from streamlearn.errors import ConfigurationError, DeviceError


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` is CUDA if available.

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


def raise_if_it_is_the_machine(error: Exception, device: torch.device, tokens: Sequence[NDArray[np.int32]]) -> None:
    """Raise a DeviceError if `error` is due to the device, which is out of memory or has failed, and not to a text."""
    if is_out_of_memory(error):
        longest = max(map(len, tokens), default=0)
        raise DeviceError(
            f"there is no memory on {device} for {len(tokens)} texts of up to {longest} tokens: "
            "lower updater.micro_batch, updater.replay_ratio or updater.max_tokens, or give it more"
        ) from None
    if isinstance(error, torch.AcceleratorError):  # after this error nothing runs on the device any more
        raise DeviceError(f"{device} has failed: {str(error).splitlines()[0]}") from error
