"""The annealed copy of a language model, which is published while the learner itself stays unchanged.

A constant learning rate can follow a stream but leaves the loss somewhat above its minimum; a rate that falls to zero
reaches it, but could not follow the stream afterwards. So a copy takes some more steps on replayed texts while its rate
falls linearly. The learner is not changed by that, to the last bit.

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
    """Turn `updater` into its annealed copy within the context, and yield the copy's state; None without annealing.

    Parameters
    ----------
    updater
        Takes ``annealing_steps`` steps, each on ``micro_batch`` texts. These are drawn from its seed and number of
        steps, so that a rebuilt snapshot has the same bits.
    learnt
        The encoded events of the replay buffer. Without any, or without such steps, nothing is annealed.

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
