"""The result of learning some examples in one attempt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from streamlearn.events import Label
from streamlearn.reports import StepResult
from streamlearn.updater.examples import Examples
from streamlearn.updater.labels import LabelMap
from streamlearn.updater.mixture import MixedGradients


@dataclass(frozen=True)
class Attempt:
    """Examples learnt in one attempt, how many labels were known before, and what was found out about the examples."""

    examples: Examples
    known: int
    learnt: MixedGradients


def result_of(attempts: Sequence[Attempt], labels: LabelMap) -> StepResult:
    """Return the result of the step that `attempts` make up; `labels` are those known after it."""
    correct, losses = [np.empty(0, np.bool_)], [np.empty(0, np.float32)]
    predicted, confidences = list[Label | None](), [np.empty(0, np.float32)]
    names = list(labels)
    for attempt in attempts:
        count, known = attempt.examples.fresh, attempt.known
        confidence, likeliest = attempt.learnt.log_probabilities[:count, : max(1, known)].exp().max(-1)
        columns = np.asarray([labels.index(event.label) for event in attempt.examples.events[:count]])
        correct.append((likeliest.numpy() == columns) & (columns < known))
        losses.append(attempt.learnt.losses[:count].numpy())
        predicted += [names[column] if known else None for column in likeliest.tolist()]
        confidences.append(confidence.float().numpy() if known else np.zeros(count, np.float32))
    every = [attempt.learnt.losses for attempt in attempts]
    return StepResult(
        correct=np.concatenate(correct),
        losses=np.concatenate(losses),
        loss=float(torch.cat(every).mean()) if every else math.nan,
        gradient_norm=attempts[-1].learnt.norm if attempts else math.nan,
        learning_rate=math.nan,
        predicted=predicted,
        confidences=np.concatenate(confidences),
    )
