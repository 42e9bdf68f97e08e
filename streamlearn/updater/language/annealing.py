"""The annealed copy of a language model, which is published while the learner goes on as it was.

A constant rate follows a stream and leaves the weights some way above the bottom of the valley that they are in; a rate
that falls to nothing takes them down, and could follow nothing afterwards. So a copy takes some more steps on replayed
texts while its rate falls linearly. Nothing of that stays with the learner, to the last bit.

References
----------
Hägele, A. et al. (2024). Scaling laws and compute-optimal training beyond fixed training durations. NeurIPS: constant
rate and cooldown. Ibrahim, A. et al. (2024). Simple and scalable strategies to continually pre-train large language
models. TMLR.

"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from streamlearn.events import Event
from streamlearn.state import State
from streamlearn.updater.language.updater import LanguageUpdater


@contextmanager
def annealed(updater: LanguageUpdater, learnt: Sequence[Event]) -> Iterator[State | None]:
    """Let `updater` be its annealed copy meanwhile, and yield the state of that; None where it stays as it is.

    Parameters
    ----------
    updater
        Whose ``annealing_steps`` are taken, each on ``micro_batch`` texts. They are drawn by its seed and its steps, so
        that a snapshot that is rebuilt has the same bits.
    learnt
        The encoded events of the replay buffer. Without any nothing is annealed, nor without such steps.

    """
    settings = updater.config
    if not (learnt and settings.annealing_steps):
        yield None
        return
    before = updater.state()
    draws = random.Random(f"{settings.seed} {updater.steps}")
    try:
        for step in range(settings.annealing_steps):
            updater.descent.optimizer.scale = 1.0 - step / settings.annealing_steps
            updater.step(draws.sample(list(learnt), min(settings.micro_batch, len(learnt))))
        yield updater.state()
    finally:
        updater.descent.optimizer.scale = 1.0
        updater.load(before)
