"""Runs a recorded part of the stream offline with other configurations, in comparison with the recorded one.

Hyper-parameters are compared on yesterday's real traffic without affecting the learner: all runs start from the same
state and see the same records in the same order.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import msgspec

from streamlearn.checkpointing.checkpoints import step_of
from streamlearn.checkpointing.journal import Stretch
from streamlearn.commands.retracing import Retracing, open_checkpoints, open_journal, recorded
from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.decisions import Decision, Step
from streamlearn.errors import ConfigurationError
from streamlearn.learner import Learner
from streamlearn.recovery import Reread, reread, retake
from streamlearn.reports import MicroBatch, StepReport


@dataclass(frozen=True)
class Course:
    """The results of one configuration: means over the fresh events, and the hold-out figures at the end.

    ``accuracy`` and ``loss`` are prequential; each is None if there was no event to measure it on. With the
    ``objective`` ``language_model`` there is the prequential ``bits_per_byte`` instead of the accuracy. ``validation``
    and ``test`` are of the same kind, and ``each`` holds the value of every event: whether it was predicted correctly,
    or its bits per byte.
    """

    configuration: str
    steps: int
    events: int
    accuracy: float | None
    loss: float | None
    validation: float | None
    test: float | None
    bits_per_byte: float | None = None
    objective: str = "classification"
    each: list[float] = field(default_factory=list, repr=False)

    def figures(self) -> dict[str, str | int | float | None]:
        """Return the row for a table, with the accuracy or the bits per byte, depending on the objective."""
        hidden = {"each", "objective", "accuracy" if self.objective == "language_model" else "bits_per_byte"}
        return {name: value for name, value in asdict(self).items() if name not in hidden}


@dataclass(frozen=True)
class Beginning:
    """A checkpoint: its step, when it was made (ISO 8601, UTC), and the last step recorded after it."""

    step: int
    made: str
    recorded_to: int


def compare(
    config: Config, others: Mapping[str, Config] | None = None, *, from_step: int, to_step: int | None = None
) -> list[Course]:
    """Return the results of the recorded configuration, or configurations, and of each other one after `from_step`.

    Parameters
    ----------
    config
        Its sections ``kafka`` and ``publisher`` say where records and journal are.
    others
        The other configurations by name, whose sections ``kafka`` and ``publisher`` are ignored; by default only
        `config`.
    from_step
        The step after which all runs start, from the same state; 0 starts from the untrained models.
    to_step
        The last step, or None for the last one recorded.

    Raises
    ------
    ConfigurationError
        If no such steps are recorded, or a configuration has another objective, whose figures cannot be compared.
    StateError
        If no checkpoint leads to `from_step`, its state does not fit another configuration, or a newer streamlearn has
        recorded one of the steps.
    BrokerError
        If Kafka cannot be reached or no longer has all of the events.

    """
    journal = open_journal(config)
    journal.configuration(from_step)  # raises if the journal does not reach back that far
    stretches = journal.stretches(from_step, to=to_step, quiet=True)
    if not stretches:
        raise ConfigurationError(f"no step after {from_step} is recorded in {journal.directory}")
    others = others or {"other": config}
    _refuse_another_objective(recorded(config, stretches[0].configuration), others)
    retracing = Retracing(config)
    for _ in retracing.take(retracing.load_before(from_step, strictly=False)):
        pass
    begin = retracing.learner.state() if from_step else None
    courses = [_course("recorded", lambda: retracing.learner, retracing.take(stretches))]
    for name, other in others.items():
        there = other.model_copy(update={"kafka": config.kafka, "publisher": config.publisher})
        learner = Learner(there)
        if begin is not None:
            learner.load(copy.deepcopy(begin))
        courses.append(_course(name, lambda learner=learner: learner, _again(learner, stretches, there)))  # type: ignore[misc]
    return courses


def _refuse_another_objective(record: Config, others: Mapping[str, Config]) -> None:
    objective = record.updater.objective
    for name, other in others.items():
        if other.updater.objective != objective:
            raise ConfigurationError(
                f"'{name}' has updater.objective: {other.updater.objective}, but what is recorded was learnt with "
                f"{objective}, and their figures cannot be compared"
            )


def _again(learner: Learner, stretches: Sequence[Stretch], config: Config) -> Iterator[StepReport]:
    """Re-run `stretches` on `learner` as recorded, or in micro-batches of its own size if that differs."""
    decisions = [decision for stretch in stretches for decision in stretch.decisions]
    sizes = {recorded(config, stretch.configuration).updater.micro_batch for stretch in stretches}
    if sizes == {config.updater.micro_batch}:
        return retake(learner, decisions, make_source(config))
    return regrouped(learner, reread(decisions, make_source(config)), config.updater.micro_batch)


def beginnings(config: Config) -> list[Beginning]:
    """Return the checkpoints that a comparison can start from, oldest first, and how far the journal reaches from each.

    Raises
    ------
    StateError
        If a newer streamlearn has recorded one of the steps.

    """
    journal = open_journal(config)
    checkpoints = open_checkpoints(config)
    found: list[Beginning] = []
    end = -1
    for name in checkpoints.names():
        step = step_of(name)
        if step > end:
            end = journal.reaches(step)
        made = datetime.fromtimestamp(checkpoints.made(name), tz=UTC)
        found.append(Beginning(step, made.isoformat(timespec="seconds"), end))
    return found


def regrouped(learner: Learner, steps: Iterable[Reread], size: int) -> Iterator[StepReport]:
    """Let `learner` learn the records of `steps` in micro-batches of its own size.

    A decision of a special kind, or one that tells of a publication, is applied at the same point with its records.
    """

    def learn(batch: MicroBatch, decision: Decision | None = None) -> StepReport:
        decision = decision or Step(0, batch.ranges)
        return learner.learn(msgspec.structs.replace(decision, step=learner.step + 1), batch)

    draft = learner.draft()
    for step in steps:
        if not (isinstance(step.decision, Step) and step.decision.plain):
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
    steps = size = 0
    loss = nats = 0.0
    each: list[float] = []
    for report in reports:
        steps += 1
        result = report.result
        if not result or not result.applied:
            continue
        loss += float(result.losses.sum())
        if result.texts is None:
            each += map(float, result.correct)
        else:
            nats += float(result.texts.nats.sum())
            size += int(result.texts.bytes.sum())
            each += (result.texts.nats / result.texts.bytes / math.log(2.0)).tolist()
    events, holdout = len(each), learner().evaluate()
    return Course(
        configuration=configuration,
        steps=steps,
        events=events,
        accuracy=sum(each) / events if each and not size else None,
        loss=loss / events if each else None,
        validation=holdout["validation"].figure,
        test=holdout["test"].figure,
        bits_per_byte=nats / math.log(2.0) / size if size else None,
        objective=learner().objective.name,
        each=each,
    )
