"""A step on texts that every expert has learnt before: only experts that gain from seeing a text again learn.

Only the transformer does, and its average follows it. Experts that count or remember texts would count them twice, and
find each text of the second pass in their memory; they would look so good that the pool would give them weights that no
new text justifies. So neither they nor the pool change.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from streamlearn.events import Event, Reason
from streamlearn.updater.experts.expert import Gradients, objection
from streamlearn.updater.experts.registry import AVERAGED, TRANSFORMER
from streamlearn.updater.features import Encoded
from streamlearn.updater.isolation import find_guilty
from streamlearn.updater.updater import Updater


def rehearse(updater: Updater, events: Sequence[Event]) -> int:
    """Let the transformer take a step on encoded `events`, which have been learnt; return how many it could learn.

    Events on which it cannot take one are left out. Without a transformer nothing happens.

    Raises
    ------
    DeviceError
        If the device runs out of memory or fails.

    """
    transformer = updater.transformer
    if transformer is None or not events:
        return 0
    encoded, targets = Encoded.of(events, frozenset()), [updater.labels.index(event.label) for event in events]
    rows: Sequence[int] = range(len(events))
    found = transformer.gradients(encoded, targets)
    if isinstance(found, Reason):

        def objects(tried: Sequence[int]) -> Reason | None:
            return objection(transformer, encoded.take(tried), [targets[row] for row in tried])

        guilty = find_guilty(rows, objects)
        rows = [row for row in rows if row not in guilty]
        if not rows:
            return 0
        rest = [targets[row] for row in rows]
        found = transformer.gradients(encoded.take(rows), rest)
        if isinstance(found, Reason):
            found = transformer.gradients(encoded.take(rows), rest, apart=True)
        if isinstance(found, Reason):
            return 0
    _apply(updater, found)
    return len(rows)


def follow(updater: Updater, events: Sequence[Event]) -> Tensor:
    """Return the log-probabilities of encoded `events`, and let the pooling of the experts follow their loss.

    They are from before that, of shape (events, labels); NaN if the model raises. No expert changes.
    """
    targets = [updater.labels.index(event.label) if event.label in updater.labels else None for event in events]
    return updater.mixture.follow(Encoded.of(events, updater.mixture.reads), targets)


def _apply(updater: Updater, gradients: Gradients) -> None:
    lost = []
    for expert in updater.mixture.experts:
        if expert.name in (TRANSFORMER, AVERAGED):
            expert.apply(gradients)
            if not expert.finite:
                lost.append(expert.name)
    updater.mixture.restart(lost)
    updater.steps += 1
