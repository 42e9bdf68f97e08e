"""Runs a recorded stretch of the stream under another configuration, beside the recorded one, offline.

Hyper-parameters are compared on yesterday's real traffic without touching the learner: both begin with the same
state and meet the same records in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import msgspec

from streamlearn.commands.retracing import Retracing, open_journal, recorded
from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.decisions import Decision, Step
from streamlearn.errors import ConfigurationError
from streamlearn.learner import Learner
from streamlearn.recovery import Reread, reread, retake
from streamlearn.reports import MicroBatch, StepReport


@dataclass(frozen=True)
class Course:
    """How one configuration fared: means over the fresh events, and what came of the hold-out at the end.

    ``accuracy`` and ``loss`` are prequential; each is None where there was no event to measure it on. A language model
    has the prequential ``bits_per_byte`` instead of the accuracy. ``validation`` and ``test`` are of the same kind.
    """

    configuration: str
    steps: int
    events: int
    accuracy: float | None
    loss: float | None
    validation: float | None
    test: float | None
    bits_per_byte: float | None = None

    def figures(self) -> dict[str, str | int | float | None]:
        """Return what is shown of it: the accuracy, or else the bits per byte."""
        idle = "bits_per_byte" if self.bits_per_byte is None else "accuracy"
        return {name: value for name, value in asdict(self).items() if name != idle}


def compare(config: Config, *, from_step: int, to_step: int | None = None) -> list[Course]:
    """Return the course of the recorded configuration, or configurations, and that of `config` after `from_step`.

    Parameters
    ----------
    config
        The other configuration; its sections ``kafka`` and ``publisher`` say where the record is.
    from_step
        The step after which both begin, with the same state; 0 begins with the models as they come.
    to_step
        The last step, or None for the last one recorded.

    Raises
    ------
    ConfigurationError
        If no such steps are recorded.
    StateError
        If no checkpoint leads to `from_step`, its state does not fit `config`, or a newer streamlearn has recorded
        one of the steps.
    BrokerError
        If Kafka cannot be reached or no longer has all of the events.

    """
    journal = open_journal(config)
    journal.configuration(from_step)  # or it does not reach back so far
    stretches = journal.stretches(from_step, to=to_step, quiet=True)
    if not stretches:
        raise ConfigurationError(f"no step after {from_step} is recorded in {journal.directory}")
    retracing, other = Retracing(config), Learner(config)
    for _ in retracing.take(retracing.load_before(from_step, strictly=False)):
        pass
    if from_step:
        other.load(retracing.learner.state())
    decisions = [decision for stretch in stretches for decision in stretch.decisions]
    sizes = {recorded(config, stretch.configuration).updater.micro_batch for stretch in stretches}
    others = (
        retake(other, decisions, make_source(config))
        if sizes == {config.updater.micro_batch}
        else regrouped(other, reread(decisions, make_source(config)), config.updater.micro_batch)
    )
    return [
        _course("recorded", lambda: retracing.learner, retracing.take(stretches)),
        _course("other", lambda: other, others),
    ]


def regrouped(learner: Learner, steps: Iterable[Reread], size: int) -> Iterator[StepReport]:
    """Let `learner` learn the records of `steps` in micro-batches of its own size.

    A decision of another kind than the usual one acts where it did, on its own records, which it may be about.
    """

    def learn(batch: MicroBatch, decision: Decision | None = None) -> StepReport:
        decision = decision or Step(0, batch.ranges)
        return learner.learn(msgspec.structs.replace(decision, step=learner.step + 1), batch)

    draft = learner.draft()
    for step in steps:
        if not isinstance(step.decision, Step):
            if draft.batch:
                yield learn(draft.batch)
            yield learn(step.batch(learner.draft()), step.decision)
            draft = learner.draft()
            continue
        for arrival in step.arrivals:
            while arrival.start < len(arrival.records):
                draft.take(arrival, size=size)
                if len(draft.batch.fresh) == size:
                    yield learn(draft.batch)
                    draft = learner.draft()
    if draft.batch:
        yield learn(draft.batch)


def _course(configuration: str, learner: Callable[[], Learner], reports: Iterator[StepReport]) -> Course:
    steps = events = correct = 0
    loss = nats = 0.0
    size = 0
    for report in reports:
        steps += 1
        if report.result and report.result.applied:
            events += len(report.learnt)
            correct += int(report.result.correct.sum())
            loss += float(report.result.losses.sum())
            if report.result.texts is not None:
                nats += float(report.result.texts.nats.sum())
                size += int(report.result.texts.bytes.sum())
    holdout = learner().evaluate()
    return Course(
        configuration=configuration,
        steps=steps,
        events=events,
        accuracy=correct / events if events and not size else None,
        loss=loss / events if events else None,
        validation=holdout["validation"].figure,
        test=holdout["test"].figure,
        bits_per_byte=nats / math.log(2.0) / size if size else None,
    )
