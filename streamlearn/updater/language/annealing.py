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

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from streamlearn.errors import DeviceError
from streamlearn.events import Event
from streamlearn.state import State
from streamlearn.updater.language.updater import LanguageUpdater

log = logging.getLogger(__name__)


@contextmanager
def annealed(
    updater: LanguageUpdater, learnt: Sequence[Event], cost: Callable[[], tuple[float, float]]
) -> Iterator[State | None]:
    """Turn `updater` into its annealed copy within the context, and yield what of the copy's state is published.

    None stands for the updater as it is: without ``annealing_steps``, without events, where the device has no memory
    for them, and where the copy is no better.

    Parameters
    ----------
    updater
        Takes the steps, each on ``micro_batch`` texts. These are drawn from its seed and number of steps, so that a
        rebuilt snapshot has the same bits.
    learnt
        The encoded events of the replay buffer.
    cost
        Returns what the validation set costs the updater as it is then; less is better.

    """
    settings = updater.config
    if not (learnt and settings.annealing_steps):
        yield None
        return
    as_it_is, before = cost(), updater.state()
    why = f"{settings.annealing_steps} steps make it no better"
    try:
        try:
            _take_steps(updater, learnt)
            better = cost() < as_it_is
        except (DeviceError, MemoryError, RuntimeError) as error:
            better, why = False, str(error)
        if better:
            yield {"weights": updater.weights()}
    finally:
        updater.go_back(before)
    if not better:
        log.warning("what is published is not annealed: %s", why)
        yield None


def _take_steps(updater: LanguageUpdater, learnt: Sequence[Event]) -> None:
    settings, optimizer = updater.config, updater.descent.optimizer
    draws, begun, events = random.Random(f"{settings.seed} {updater.steps}"), optimizer.factor, list(learnt)
    for step in range(settings.annealing_steps):
        optimizer.fixed = begun * (1.0 - step / settings.annealing_steps)
        updater.step(draws.sample(events, min(settings.micro_batch, len(events))))
