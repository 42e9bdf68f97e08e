"""Copies the learner at one step, for a checkpoint and, if one is due, for a snapshot."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streamlearn.config import Config
from streamlearn.learner import Learner
from streamlearn.learner.objective import Scored
from streamlearn.publisher.progress import Accuracy
from streamlearn.publisher.publisher import Capture
from streamlearn.records import by_name


def capture(learner: Learner, config: Config, version: int | None, *, history: bytes = b"") -> Capture:
    """Return a copy of `learner` with the `history`, to be published if a `version` is given."""
    copy = capture_checkpoint(learner) if version is None else capture_snapshot(learner, config, version=version)
    return replace(copy, history=history)


def capture_checkpoint(learner: Learner) -> Capture:
    """Return a copy of `learner`.

    Raises
    ------
    AstrayError
        If its θ does not predict: nothing could be learnt from such a checkpoint.

    """
    learner.prove()
    return Capture(learner.step, learner.state(), dict(learner.positions), learner.version)


def capture_snapshot(learner: Learner, config: Config, *, version: int) -> Capture:
    """Evaluate `learner` on the hold-out, and return a copy to publish, whose version counter is `version`.

    The learner's own counter is left to the caller, who sets it once the copy exists. The error is that of
    :func:`capture_checkpoint`.
    """
    learner.prove()
    state = learner.state() | {"version": version}
    with learner.as_published(state) as export:
        scores = learner.evaluate()
        figures = _figures(scores)
        transformer = _figures(learner.evaluate_transformer())
    return Capture(
        step=learner.step,
        state=state,
        positions=dict(learner.positions),
        version=version,
        export=export,
        accuracy=figures,
        unpredictable=scores["validation"].unpredictable,
        provenance=_provenance(learner, config, figures, transformer),
    )


def _figures(scores: Mapping[str, Scored]) -> Accuracy:
    return {split: score.figure for split, score in scores.items()}


def _provenance(learner: Learner, config: Config, figures: Accuracy, transformer: Accuracy) -> dict[str, Any]:
    prequential = {
        f"prequential_{name}": None if math.isnan(value) else value
        for name, value in learner.objective.figures().items()
    }
    holdout: dict[str, Accuracy] = (
        {"holdout_accuracy": figures, "transformer_holdout_accuracy": transformer}
        if config.labelled
        else {"holdout_bits_per_byte": figures}
    )
    return {
        "positions": by_name(learner.positions),
        "events": dict(learner.counts),
        "metrics": {**prequential, **holdout},
        "model": config.updater.model,
        "warm_from": learner.updater.warm_from,
        "config_digest": config.digest(),
        "created": time.time(),
    }
