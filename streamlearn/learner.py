"""The learner: everything that decides the next θ, in one object, with one state.

It knows neither Kafka nor disk nor clock: what a micro-batch does to it is a function of its state and the
micro-batch alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamlearn.buffer import make_buffer
from streamlearn.config import Config
from streamlearn.consumer.admission import Admission, Outcome
from streamlearn.consumer.intake import MicroBatch
from streamlearn.events import Event, Positions, Reason
from streamlearn.monitor.drift import RiseDetector
from streamlearn.monitor.holdout import HoldOut
from streamlearn.monitor.prequential import PrequentialAccuracy
from streamlearn.state import Export, State, Stateful
from streamlearn.updater import StepResult, Updater


@dataclass(frozen=True)
class Rise:
    """A drift: the signal whose mean has risen, and the event at which it was detected."""

    detector: str
    event: Event


@dataclass(frozen=True)
class StepReport:
    """What one micro-batch did to the learner.

    ``refused`` are the records to send to the dead letters only now that they have been tried. ``result`` is
    None where the micro-batch held no fresh event.
    """

    step: int
    batch: MicroBatch
    outcomes: Counter[Outcome]
    refused: list[tuple[Any, Reason]]
    result: StepResult | None = None
    replayed: int = 0
    rises: list[Rise] = field(default_factory=list)


class Learner:
    """Learns micro-batches and remembers how well it predicted them.

    Parameters
    ----------
    config
        The sections ``events``, ``buffer``, ``updater`` and ``monitor`` count.

    Attributes
    ----------
    step
        How many micro-batches have been consumed.
    version
        How many snapshots have been asked for.
    positions
        The next offset to read of each partition.
    counts
        Records dealt with since the beginning, by outcome.

    """

    def __init__(self, config: Config) -> None:
        self.updater = Updater(config)
        self.admission = Admission(config.events)
        self.buffer = make_buffer(config.buffer, seed=config.updater.seed)
        self.accuracy = PrequentialAccuracy(config.monitor.accuracy_window)
        self.detectors = {name: RiseDetector(config.monitor.drift) for name in ("loss", "error")}
        self.holdout = HoldOut(config.events.holdout_records)
        self.step = 0
        self.version = 0
        self.positions: Positions = {}
        self.counts: Counter[str] = Counter()
        self._replay_ratio = config.updater.replay_ratio
        self._parts: dict[str, Stateful] = {
            "updater": self.updater,
            "admission": self.admission,
            "buffer": self.buffer,
            "accuracy": self.accuracy,
            "holdout": self.holdout,
            **{f"drift_{name}": detector for name, detector in self.detectors.items()},
        }

    def learn(self, batch: MicroBatch) -> StepReport:
        """Predict the fresh events of `batch`, learn from them and from replayed ones, and remember them."""
        outcomes, refused = Counter(batch.outcomes), list(batch.refused)
        fresh, result, replayed, rises = self.updater.encode(batch.fresh), None, [], []
        if fresh:
            replayed = self.buffer.draw(round(len(fresh) * self._replay_ratio))
            result = self.updater.step(fresh, replayed)
            if result.applied:
                self.buffer.extend(fresh)
                rises = self._evaluate(fresh, result)
            else:
                refused += [(record, Reason.NOT_FINITE) for record in batch.records]
                outcomes[Outcome.DEAD_LETTER] += outcomes.pop(Outcome.TRAINED)
        self.holdout.extend(self.updater.encode(batch.held_out))
        self.positions.update(batch.positions)
        self.counts.update({outcome.value: count for outcome, count in outcomes.items()})
        self.step += 1
        return StepReport(self.step, batch, outcomes, refused, result, len(replayed), rises)

    def _evaluate(self, fresh: list[Event], result: StepResult) -> list[Rise]:
        self.accuracy.update(result.correct.tolist())
        # ADWIN's bound holds for values from 0 to 1, so the loss −log p of the true label goes in as 1 − p.
        signals = {"loss": -np.expm1(-result.losses), "error": ~result.correct}
        return [
            Rise(name, fresh[place])
            for name, detector in self.detectors.items()
            for place in detector.update(signals[name].tolist())
        ]

    def holdout_accuracy(self) -> dict[str, float | None]:
        """Return the accuracy of the present θ on both splits of the hold-out."""
        return self.holdout.accuracy(self.updater.predict)

    def export(self, state: State) -> Export:
        """Return what a snapshot of `state`, which :meth:`state` returned just now, publishes."""
        return self.updater.export(state["updater"])

    def state(self) -> State:
        """Return a copy of everything that decides the future."""
        return {
            "step": self.step,
            "version": self.version,
            "positions": [[topic, partition, offset] for (topic, partition), offset in sorted(self.positions.items())],
            "counts": dict(self.counts),
            **{name: part.state() for name, part in self._parts.items()},
        }

    def load(self, state: State) -> None:
        """Continue from `state`.

        Raises
        ------
        StateError
            If it was made with another model or other labels.

        """
        for name, part in self._parts.items():
            part.load(state[name])
        self.step, self.version = state["step"], state["version"]
        self.positions = {(topic, partition): offset for topic, partition, offset in state["positions"]}
        self.counts = Counter(state["counts"])
