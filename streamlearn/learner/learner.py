"""The learner: everything that decides the next θ, in one object, with one state.

It has no access to Kafka, disk or clock: a step is a function of its state, the decision and the micro-batch alone.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

from streamlearn.buffer import make_buffer
from streamlearn.config import Config
from streamlearn.decisions import Decision
from streamlearn.errors import AstrayError, StateError
from streamlearn.events import Event, Outcome, Reason
from streamlearn.learner.admission import Admission
from streamlearn.learner.draft import Draft
from streamlearn.learner.evaluation.drift import RiseDetector
from streamlearn.learner.evaluation.holdout import HoldOut
from streamlearn.learner.objective import Objective, Scored, make_objective
from streamlearn.records import Positions, Record, Topics
from streamlearn.reports import MicroBatch, Rise, Standing, StepReport, StepResult
from streamlearn.state import Export, State, Stateful
from streamlearn.updater.contract import AnyUpdater

log = logging.getLogger(__name__)

PROOFS = 8  # texts: takes a few milliseconds, and one text that θ can no longer predict does not outvote the others
ANY = Event("the first text of all", "", "", 0.0, "", 0, 0)


class Learner:
    """Learns micro-batches and remembers how well it predicted them.

    Parameters
    ----------
    config
        The sections ``events``, ``buffer``, ``updater`` and ``monitor`` are read.

    Attributes
    ----------
    objective
        What is learnt: the updater, and the figures that measure it.
    step
        How many steps have been taken.
    version
        The number of the snapshot requested last.
    positions
        The next offset to read of each partition.
    topics
        The ids of the topics that these positions refer to; empty if the broker has no topic ids.
    counts
        Records processed since the beginning, by outcome.
    reasons
        The dead letters among them, by reason.
    proven
        Whether :meth:`prove` has shown that θ still predicts.
    fruitless
        How many steps in a row had fresh events but could learn none of them.

    """

    def __init__(self, config: Config) -> None:
        self.objective: Objective = make_objective(config)
        self.admission = Admission(config.events)
        if self.updater.warm_from is not None:
            self.admission.labels = dict.fromkeys(self.objective.labels)
        self.buffer = make_buffer(config.buffer, seed=config.updater.seed)
        self.detectors = {name: RiseDetector(config.monitor.drift) for name in self.objective.detectors}
        self.holdout = HoldOut(config.events.holdout_records, references=self.objective.references)
        self.step = 0
        self.version = 0
        self.positions: Positions = {}
        self.topics: Topics = {}
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.proven = False
        self.fruitless = 0
        self._replay_ratio = Fraction(repr(config.updater.replay_ratio))  # as written: 0.1 has no exact binary fraction
        self._parts: dict[str, Stateful] = {
            "updater": self.updater,
            "admission": self.admission,
            "buffer": self.buffer,
            **self.objective.parts,
            "holdout": self.holdout,
            **{f"drift_{name}": detector for name, detector in self.detectors.items()},
        }

    @property
    def updater(self) -> AnyUpdater:
        """The updater."""
        return self.objective.updater

    @property
    def heeds_publications(self) -> bool:
        """Whether what was published counts for the next steps, so that the journal has to record it."""
        regularizer = self.objective.regularizer
        return regularizer is not None and regularizer.heeds_publications

    def draft(self) -> Draft:
        """Begin a micro-batch: it decides on each event by what has been learnt so far, and changes none of that."""
        return Draft(self.admission)

    def learn(self, decision: Decision, batch: MicroBatch) -> StepReport:
        """Take the next step, the only way in which θ changes: apply `decision`, then learn the `batch` of its ranges.

        The fresh events are predicted, learnt together with replayed ones, and remembered. Events that cannot be learnt
        are refused, and the rest is learnt without them.

        Raises
        ------
        ValueError
            If `decision` is not for the next step.
        AstrayError
            If θ no longer predicts anything, so that no record is to blame; discard this learner.
        DeviceError
            If the device runs out of memory or fails; discard this learner, too.

        """
        if decision.step != self.step + 1:
            raise ValueError(f"step {decision.step} cannot follow step {self.step}")
        decision.apply(self)
        fresh, refused = self.updater.encode_each(batch.fresh)
        held_out, refused_held_out = self.updater.encode_each(batch.held_out)
        result, replayed, unfit = None, [], []
        tells = self.objective.tells
        if fresh:
            replayed = self.buffer.draw(self._due_for_replay(len(fresh)))
            result = self.updater.step(list(fresh.values()), replayed, proofs=self.buffer.last(PROOFS))
            unfit = [replayed[index] for index in result.unfit]
            indices = list(fresh)
            refused |= {indices[index]: reason for index, reason in result.refused.items()}
        learnt = [event for index, event in fresh.items() if index not in refused]
        if refused and not learnt:
            self.prove()
        if learnt:
            self.proven, self.fruitless = False, 0
        elif batch.fresh:
            self.fruitless += 1
        if unfit:
            self.buffer.forget(unfit)
        self.buffer.extend(learnt)
        self.updater.keep_within(self.buffer.bytes - self.buffer.held_bytes)
        rises = self._evaluate(learnt, result, tells=tells) if result and learnt else []
        self.holdout.extend(held_out.values())
        outcomes, letters = self._settle(batch, refused, refused_held_out)
        self.positions.update(batch.positions)
        self.counts.update({outcome.value: count for outcome, count in outcomes.items()})
        self.reasons.update({reason.value: count for reason, count in batch.reasons.items()})
        self.reasons.update(reason.value for reason in (*refused.values(), *refused_held_out.values()))
        self.step += 1
        return StepReport(
            step=self.step,
            batch=batch,
            outcomes=outcomes,
            refused=letters,
            result=result,
            learnt=learnt,
            replayed=len(replayed) - len(unfit) if learnt else 0,
            rises=rises,
        )

    def _settle(
        self, batch: MicroBatch, refused: dict[int, Reason], refused_held_out: dict[int, Reason]
    ) -> tuple[Counter[Outcome], list[tuple[Record, Reason]]]:
        """Update admission, and return the outcomes of the records of `batch` and its dead letters.

        The events with the indices `refused` among the fresh ones and `refused_held_out` among the held out are
        forgotten, so that they do not count as duplicates when they are sent again.
        """
        split = ((batch.fresh, refused), (batch.held_out, refused_held_out))
        self.admission.take_in(
            batch,
            accepted=(event for events, out in split for index, event in enumerate(events) if index not in out),
            refused=[events[index] for events, out in split for index in out],
        )
        outcomes, letters = Counter(batch.outcomes), list(batch.refused)
        letters += [(batch.records[index], reason) for index, reason in refused.items()]
        letters += [(batch.held_out_records[index], reason) for index, reason in refused_held_out.items()]
        outcomes[Outcome.TRAINED] -= len(refused)
        outcomes[Outcome.HELD_OUT] -= len(refused_held_out)
        outcomes[Outcome.DEAD_LETTER] += len(refused) + len(refused_held_out)
        return +outcomes, letters

    def _due_for_replay(self, fresh: int) -> int:
        """Return how many events to replay with `fresh` fresh ones, so that the replay ratio holds in the long run."""
        before = self.counts[Outcome.TRAINED.value]
        return math.floor((before + fresh) * self._replay_ratio) - math.floor(before * self._replay_ratio)

    def _evaluate(self, fresh: list[Event], result: StepResult, *, tells: bool) -> list[Rise]:
        """Record how `fresh` were predicted, and return the drifts found; none where predictions tell nothing yet."""
        signals = self.objective.signals(result)
        if not tells:
            return []
        return [
            Rise(name, fresh[index])
            for name, detector in self.detectors.items()
            for index in detector.update(signals[name])
        ]

    def prove(self) -> None:
        """Check that θ still predicts most of a few learnt events, or some text if none has been learnt.

        Raises
        ------
        AstrayError
            If it does not.

        """
        predictable = self.updater.predictable(self.buffer.last(PROOFS) or self.updater.encode([ANY]))
        if 2 * sum(predictable) < len(predictable):
            raise AstrayError(f"the predictions of the model are not finite any more after step {self.step}")
        self.proven = True

    @property
    def presentable(self) -> bool:
        """Whether there is anything to publish."""
        return self.objective.presentable

    def evaluate(self) -> Mapping[str, Scored]:
        """Return how well the model to be published does on each split of the hold-out."""
        return self.objective.evaluate(self.holdout)

    def evaluate_transformer(self) -> Mapping[str, Scored]:
        """Return how well the transformer alone does on each split; empty if there is none, or nothing beside it."""
        return self.objective.evaluate_transformer(self.holdout)

    def standing(self) -> Standing:
        """Return a copy of the figures that the monitor shows."""
        return Standing(
            step=self.step,
            version=self.version,
            positions=dict(self.positions),
            counts=Counter(self.counts),
            reasons=Counter(self.reasons),
            **self.objective.figures(),
            buffer_records=len(self.buffer),
            buffer_capacity=self.buffer.records,
            by_label=self.buffer.by_label(),
            drift_means={name: detector.mean for name, detector in self.detectors.items()},
        )

    @contextmanager
    def as_published(self, state: State) -> Iterator[Export]:
        """Let the updater be what is published of it meanwhile, and yield the contents of that snapshot.

        `state` is what :meth:`state` has just returned.
        """
        with self.objective.annealed(self.buffer.last(len(self.buffer)), self.holdout) as annealed:
            yield self.export(state if annealed is None else {"updater": annealed})

    def export(self, state: State) -> Export:
        """Return the contents of a snapshot of `state`, which :meth:`state` has just returned."""
        return self.objective.export(state["updater"])

    def state(self) -> State:
        """Return a copy of everything that later steps depend on."""
        return {
            "step": self.step,
            "version": self.version,
            "positions": [[topic, partition, offset] for (topic, partition), offset in sorted(self.positions.items())],
            "topics": dict(self.topics),
            "counts": dict(self.counts),
            "reasons": dict(self.reasons),
            **{name: part.state() for name, part in self._parts.items()},
        }

    def load(self, state: State) -> None:
        """Continue from `state`.

        Raises
        ------
        StateError
            If it was made with another objective, another model or other labels.

        """
        learnt = state["updater"].get("objective", "classification")
        if learnt != self.objective.name:
            raise StateError(
                f"the checkpoint was made with updater.objective: {learnt}, and the configuration says "
                f"{self.objective.name}; give it a publisher.directory of its own"
            )
        if not self.updater.encodes_as(state["updater"]):
            state = self._encoded_again(state)
        for name, part in self._parts.items():
            part.load(state[name])
        self.step, self.version = state["step"], state["version"]
        self.positions = {(topic, partition): offset for topic, partition, offset in state["positions"]}
        self.topics = dict(state.get("topics", {}))
        self.counts = Counter(state["counts"])
        self.reasons = Counter(state.get("reasons", {}))
        self.proven, self.fruitless = False, 0

    def _encoded_again(self, state: State) -> State:
        """Return `state` with its texts encoded again; a text that cannot be encoded keeps its old token ids."""
        if state["step"]:
            log.info(
                "texts are encoded differently than before, so those in the buffer and the hold-out are encoded again"
            )

        def again(events: list[Event]) -> list[Event]:
            encoded, _ = self.updater.encode_each(events)
            return [encoded.get(index, event) for index, event in enumerate(events)]

        holdout = {split: again(events) for split, events in state["holdout"].items()}
        return state | {"buffer": state["buffer"] | {"events": again(state["buffer"]["events"])}, "holdout": holdout}
