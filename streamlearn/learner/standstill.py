"""When learning comes to nothing: how long it goes on, what the probes say meanwhile, and with which sentence it ends.

Either θ predicts nothing any more, and then no record is to blame: nothing is refused or kept for it, and learning
stands back to the last checkpoint, which predicted. Or it predicts what it knows, and none of the events that come can
be learnt: they are refused, and after :data:`FRUITLESS_STEPS` learning ends behind them, for somebody to look at it.
"""

from __future__ import annotations

from streamlearn.config import Config
from streamlearn.errors import AstrayError, FruitlessError
from streamlearn.learner import Learner

FRUITLESS_STEPS = 16  # in a row; by then hundreds of texts have been refused, each of them tried alone
UNREADY_STEPS = 2  # one may be a single text on a quiet topic


def refusing(learner: Learner) -> str:
    """Return what the probes say while nothing of what comes can be learnt; empty where something was lately."""
    return f"refusing every event for {learner.fruitless} steps" if learner.fruitless >= UNREADY_STEPS else ""


def fruitless(learner: Learner, config: Config, checkpoint: int) -> FruitlessError:
    """Return the error with which `learner` ends that has learnt nothing for too long.

    `checkpoint` is the step of the newest one, which was made behind what was refused.
    """
    return FruitlessError(
        f"none of the events of the last {learner.fruitless} steps could be learnt, so learning has stopped: their "
        f"records and the reasons are in {config.kafka.dead_letter_topic}; see whether updater.model, "
        "updater.max_tokens and updater.precision fit such texts. The next start continues after them, "
        f"after step {checkpoint}"
    )


def stood_back(reason: str, config: Config, checkpoint: int) -> AstrayError:
    """Return the error with which a learner ends whose θ has gone astray, which `reason` shows.

    `checkpoint` is the step of the newest one, from which the next start goes on.
    """
    return AstrayError(
        f"{reason}: the model has gone astray, so learning has stopped, and no record is refused for it; "
        f"lower updater.learning_rate ({config.updater.learning_rate:g}) or see to updater.clip_norm. "
        f"The next start continues after step {checkpoint}, the last from which it predicted"
    )
