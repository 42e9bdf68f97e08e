"""What is copied of the learner at one step, for a checkpoint and, where one is due, for a snapshot."""

from __future__ import annotations

import math
import time
from typing import Any

from streamlearn.config import Config
from streamlearn.learner import Learner
from streamlearn.publisher.progress import Accuracy
from streamlearn.publisher.publisher import Capture
from streamlearn.records import by_name


def capture_checkpoint(learner: Learner) -> Capture:
    """Return a copy of `learner`.

    Raises
    ------
    AstrayError
        If its θ does not predict: whoever continued from it could learn nothing.

    """
    learner.prove()
    return Capture(learner.step, learner.state(), dict(learner.positions), learner.version)


def capture_snapshot(learner: Learner, config: Config, *, after: int) -> Capture:
    """Count a version of `learner` above `after`, evaluate it on the hold-out, and return a copy to publish.

    The error is that of :func:`capture_checkpoint`.
    """
    learner.prove()
    scores = learner.evaluate()
    accuracy = {split: score.accuracy for split, score in scores.items()}
    learner.version = max(learner.version, after) + 1
    state = learner.state()
    return Capture(
        step=learner.step,
        state=state,
        positions=dict(learner.positions),
        version=learner.version,
        export=learner.export(state),
        accuracy=accuracy,
        unpredictable=scores["validation"].unpredictable,
        provenance=_provenance(learner, config, accuracy),
    )


def _provenance(learner: Learner, config: Config, accuracy: Accuracy) -> dict[str, Any]:
    prequential = learner.accuracy.value
    return {
        "positions": by_name(learner.positions),
        "events": dict(learner.counts),
        "metrics": {
            "prequential_accuracy": None if math.isnan(prequential) else prequential,
            "holdout_accuracy": accuracy,
        },
        "model": config.updater.model,
        "config_digest": config.digest(),
        "created": time.time(),
    }
