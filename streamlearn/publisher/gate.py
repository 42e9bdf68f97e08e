"""The gate: what keeps a candidate from being published."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from streamlearn.state import first_not_finite

MOST = 0.5  # of the hold-out: beyond it, it is the candidate that cannot predict, and not the texts that are odd


def rejection(
    tensors: Mapping[str, Tensor],
    validation_accuracy: float | None,
    *,
    min_validation_accuracy: float,
    unpredictable: float = 0.0,
    bits_per_byte: float | None = None,
    max_bits_per_byte: float | None = None,
) -> str | None:
    """Return why the candidate must not be published, or None where it may be.

    Parameters
    ----------
    tensors
        θ by parameter name, and whatever else of the candidate is published, by its path.
    validation_accuracy
        Of the candidate on the validation hold-out; None while that is empty, which rejects nothing.
    min_validation_accuracy
        The accuracy below which a candidate is rejected.
    unpredictable
        The share of the validation hold-out to which the candidate gives no probabilities that are finite and add up
        to 1. Up to half of it, that is the texts' affair, and they count as predicted wrongly.
    bits_per_byte
        Of a language model on the validation hold-out; None while that is empty, and of a classifier.
    max_bits_per_byte
        Above which a language model is rejected; None where there is no such limit.

    """
    name = first_not_finite(tensors)
    if name is not None:
        return f"{name} holds a value that is not finite"
    if unpredictable > MOST:
        return f"its probabilities for {unpredictable:.0%} of the validation hold-out are not finite"
    if validation_accuracy is not None and validation_accuracy < min_validation_accuracy:
        return f"validation accuracy {validation_accuracy:.3f} is below {min_validation_accuracy:.3f}"
    if bits_per_byte is not None and max_bits_per_byte is not None and bits_per_byte > max_bits_per_byte:
        return f"its {bits_per_byte:.3f} bits per byte on the validation hold-out are more than {max_bits_per_byte:.3f}"
    return None
