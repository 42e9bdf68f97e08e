"""The gate: checks a candidate before it is published."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from streamlearn.state import first_not_finite

MOST = 0.5  # share of the hold-out beyond which the candidate is at fault, not the texts


def rejection(
    tensors: Mapping[str, Tensor],
    validation_accuracy: float | None,
    *,
    min_validation_accuracy: float,
    unpredictable: float = 0.0,
    bits_per_byte: float | None = None,
    max_bits_per_byte: float | None = None,
) -> str | None:
    """Return why the candidate must not be published, or None if it may be.

    Parameters
    ----------
    tensors
        θ by parameter name, and everything else to be published, by its path.
    validation_accuracy
        The candidate's accuracy on the validation hold-out; None while that is empty, and then nothing is rejected.
    min_validation_accuracy
        The accuracy below which a candidate is rejected.
    unpredictable
        The share of the validation hold-out for which the candidate has no probabilities that are finite and sum to 1.
        Up to one half, the texts are to blame, and they count as predicted wrongly.
    bits_per_byte
        A language model's bits per byte on the validation hold-out; None while that is empty, and for a classifier.
    max_bits_per_byte
        The limit above which a language model is rejected; None for no limit.

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
