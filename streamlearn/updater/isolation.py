"""Finds by bisection the texts of a micro-batch on which no step can be taken, so that the others can be learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streamlearn.events import Reason

Objection = Callable[[Sequence[int]], Reason | None]
"""Returns why no step can be taken on the texts at these indices together, or None if one can."""


def find_guilty(indices: Sequence[int], objection: Objection) -> dict[int, Reason]:
    """Return those of `indices` that cause the objection to all of them together, each with its own reason.

    A half without an objection is innocent, the other is halved again, so one guilty text among n costs about 2 log₂ n
    attempts instead of n. A text that is accepted alone is not guilty, so the result may be empty: a step can be taken
    on each of the texts, but not on all together.

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
