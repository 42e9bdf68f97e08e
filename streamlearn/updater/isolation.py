"""Which texts of a micro-batch no step can be taken on, found by halving: the others are to be learnt without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamlearn.events import Reason

Objection = Callable[[Sequence[int]], Reason | None]
"""Says why no step can be taken on the texts at these indices together, or None where one can."""


def find_guilty(indices: Sequence[int], objection: Objection) -> dict[int, Reason]:
    """Return those of `indices`, to which there is an objection together, that it is about, each with its own reason.

    A half without an objection is innocent, the other is halved again, so one guilty text among n costs about
    2 log₂ n attempts instead of n. None is guilty where it is innocent alone, so there may be none at all: texts on
    which a step can be taken one by one, but not together.

    Examples
    --------
    >>> find_guilty(range(8), lambda tried: Reason.NOT_FINITE if 5 in tried else None)
    {5: <Reason.NOT_FINITE: 'not_finite'>}
    >>> find_guilty(range(8), lambda tried: Reason.MODEL_ERROR if len(tried) > 2 else None)
    {}

    """
    if len(indices) == 1:
        reason = objection(indices)
        return {} if reason is None else {indices[0]: reason}
    middle = len(indices) // 2
    guilty: dict[int, Reason] = {}
    for half in (indices[:middle], indices[middle:]):
        if len(half) == 1 or objection(half):
            guilty |= find_guilty(half, objection)
    return guilty
