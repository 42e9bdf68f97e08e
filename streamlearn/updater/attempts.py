"""What came of examples that were learnt in one go."""

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
    """Examples that were learnt in one go, how many labels were known before, and what was found out about them."""

    examples: Examples
    known: int
    learnt: MixedGradients


def result_of(attempts: Sequence[Attempt], labels: LabelMap) -> StepResult:
    """Return what `attempts`, which make up one step, showed; `labels` are those known after it."""
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
