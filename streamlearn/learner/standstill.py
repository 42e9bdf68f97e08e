"""When nothing can be learnt: how long the learner goes on, what the probes report, and the error it ends with.

Either θ has diverged and no longer predicts anything. Then no record is to blame: nothing is refused or saved, and the
next start goes back to the last checkpoint, which did predict. Or θ still predicts learnt events, but none of the new
ones can be learnt. Then those are refused, and after :data:`FRUITLESS_STEPS` the learner ends, with a checkpoint after
them, so that somebody looks at it.
"""

from __future__ import annotations

from streamlearn.config import Config
from streamlearn.errors import AstrayError, FruitlessError
from streamlearn.learner import Learner

FRUITLESS_STEPS = 16  # in a row; by then hundreds of texts have been refused, each tried alone
UNREADY_STEPS = 2  # a single one may be just one text on a quiet topic


def refusing(learner: Learner) -> str:
    """Return what the probes report while no new event can be learnt; empty otherwise."""
    return f"refusing every event for {learner.fruitless} steps" if learner.fruitless >= UNREADY_STEPS else ""


def fruitless(learner: Learner, config: Config, checkpoint: int) -> FruitlessError:
    """Return the error with which `learner` ends when it has learnt nothing for too long.

    `checkpoint` is the step of the newest checkpoint, made after the refused events.
    """
    return FruitlessError(
        f"none of the events of the last {learner.fruitless} steps could be learnt, so learning has stopped: their "
        f"records and the reasons are in {config.kafka.dead_letter_topic}; see whether updater.model, "
        "updater.max_tokens and updater.precision fit such texts. The next start continues after them, "
        f"after step {checkpoint}"
    )


def stood_back(reason: str, config: Config, checkpoint: int) -> AstrayError:
    """Return the error with which a learner ends when its θ has diverged; `reason` says how that showed.

    `checkpoint` is the step of the newest checkpoint, from which the next start continues.
    """
    return AstrayError(
        f"{reason}: the model has gone astray, so learning has stopped, and no record is refused for it; "
        f"lower updater.learning_rate ({config.updater.learning_rate:g}) or see to updater.clip_norm. "
        f"The next start continues after step {checkpoint}, the last from which it predicted"
    )
