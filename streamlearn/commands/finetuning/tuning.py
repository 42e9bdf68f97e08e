"""Implements ``streamlearn finetune``: passes over a data set until the validation figures stop improving."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamlearn.commands.finetuning.card import card
from streamlearn.commands.finetuning.course import Course
from streamlearn.commands.finetuning.examples import Examples, read
from streamlearn.commands.finetuning.files import shown_name
from streamlearn.commands.finetuning.objective import make_objective
from streamlearn.commands.finetuning.order import batches
from streamlearn.commands.finetuning.outcome import Epoch, Outcome, Standing
from streamlearn.commands.finetuning.past import Past, remember, remembered
from streamlearn.commands.finetuning.unfinished import Unfinished, unfinished_of
from streamlearn.config import Config
from streamlearn.errors import ConfigurationError, StateError, StreamlearnError
from streamlearn.events import Event
from streamlearn.learner import Learner
from streamlearn.learner.direct import take_step
from streamlearn.publisher.snapshots import SnapshotStore, write_alone
from streamlearn.publisher.triggers import Triggers
from streamlearn.records import by_name
from streamlearn.storage.layout import MANIFEST
from streamlearn.storage.store import read_manifest

CARD = "README.md"
SECTION = "finetuning"  # of the manifest
PAST = "past.json"


def finetune(
    config: Config,
    data: Path | None,
    *,
    output: Path,
    validation: Path | None = None,
    test: Path | None = None,
    epochs: int = 5,
    patience: int = 2,
    progress: Callable[[Standing], None] = lambda _: None,
    passed: Callable[[Epoch], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Train a new learner on `data` in several passes, and write the best model to `output`.

    The first pass is like a stream: in micro-batches with replayed examples, each predicted before all experts learn
    it. In further passes, in steps of the same number of examples without replay, only the transformer learns; see
    :mod:`~streamlearn.updater.rehearsal` for the reason. A language model has only the transformer. After each pass the
    validation data are predicted, and the pooling of the experts adapts to them. A run that was killed is resumed.

    Parameters
    ----------
    config
        The sections ``events``, ``buffer``, ``updater``, the interval of checkpoints, and for a topic ``kafka`` are
        read.
    data, validation, test
        Files of examples, or saved data sets, as :func:`~streamlearn.commands.finetuning.examples.read` reads them.
        None for `data` reads what ``kafka.topic`` retains at the beginning, without using the group.
    output
        The directory of the model; until it is finished, the state is in a directory with ``.unfinished`` appended.
    epochs, patience
        The most passes, and the number of passes in a row without improvement after which it ends.
    progress, passed
        Called after each step, and after each pass.
    clock
        Monotonic seconds.

    Raises
    ------
    ConfigurationError
        If the model or a file cannot be read, there is nothing to learn, or `output` exists and is something else.
    StateError
        If the disk refuses, or another process is running the same.
    StreamlearnError
        If no example could be learnt, or θ diverged.
    BrokerError
        If the topic cannot be read.

    """
    finished = _finished(output)
    source = data or Past(config, finished.get("past") or remembered(unfinished_of(output) / PAST))
    past = source if isinstance(source, Past) else None
    examples = read(config, source, validation, test)
    given = {"settings": config.digest(), "data": examples.digest(), "epochs": epochs, "patience": patience}
    if (done := _outcome(finished, output, given)) is not None:
        return done
    with Unfinished(output, given) as unfinished:
        if past:
            remember(unfinished.directory / PAST, past)
        tuning = _Tuning(config, examples, unfinished, most=epochs, patience=patience, clock=clock)
        tuning.run(progress, passed)
        outcome = tuning.publish(output, given, past, files=[path for path in (data, validation, test) if path])
        unfinished.remove()
    return outcome


def _finished(output: Path) -> dict[str, Any]:
    """Return the record of the fine-tuning that made `output`; empty if there is none."""
    try:
        recorded: dict[str, Any] = read_manifest(output, MANIFEST).get(SECTION, {})
    except StateError:
        return {}
    return recorded


def _outcome(recorded: dict[str, Any], output: Path, given: dict[str, Any]) -> Outcome | None:
    """Return the outcome of the same, finished earlier; ConfigurationError if `output` is something else."""
    if not os.path.lexists(output):
        return None
    if recorded.get("given") != given:
        raise ConfigurationError(f"{output} already exists, and was not made by this command; name another --output")
    return Outcome.load({**recorded["outcome"], "output": str(output)})


class _Tuning:
    """One fine-tuning, from its current state to its end."""

    def __init__(
        self,
        config: Config,
        examples: Examples,
        unfinished: Unfinished,
        *,
        most: int,
        patience: int,
        clock: Callable[[], float],
    ) -> None:
        alone = {"holdout_ratio": 0.0, "duplicate_window": 0}  # held-out and repeated examples are removed already
        self._config = config.model_copy(update={"events": config.events.model_copy(update=alone)})
        self._examples = examples
        self._unfinished = unfinished
        self._patience, self._clock = patience, clock
        self._learner = Learner(self._config)
        self._objective = make_objective(self._learner)
        self._most = most if self._objective.rehearsal.gains else 1
        self._course = Course()
        self._due = Triggers(config.publisher.checkpoints.every_steps, config.publisher.checkpoints.every_seconds)

    def run(self, progress: Callable[[Standing], None], passed: Callable[[Epoch], None]) -> None:
        """Run the passes, starting from the last checkpoint."""
        kept = self._unfinished.newest()
        if kept is not None:
            self._learner.load(kept["learner"])
            self._course = Course.load(kept["course"])
            for epoch in self._course.epochs:
                passed(epoch)
        elif self._objective.can_predict_already:
            begun = self._clock()
            figures = self._objective.judge(self._examples.validation)
            self._course.seconds = self._clock() - begun
            self._course.before = Epoch(0, figures, self._course.seconds)
        while not self._course.over(most=self._most, patience=self._patience):
            self._pass(progress)
            passed(self._judge())

    def _pass(self, progress: Callable[[Standing], None]) -> None:
        course, train, updater = self._course, self._examples.train, self._config.updater
        first = course.epoch == 1
        size = updater.micro_batch if first else max(1, round(updater.micro_batch * (1.0 + updater.replay_ratio)))
        begun = self._clock()
        for batch in batches(train, size=size, seed=updater.seed, epoch=course.epoch, taken=course.taken):
            (self._meet if first else self._meet_again)(batch)
            course.taken += len(batch)
            now = self._clock()
            course.seconds, begun = course.seconds + now - begun, now
            if self._due.due(self._learner.step, done=0):
                self._keep()
            progress(Standing(course.epoch, self._most, course.taken, len(train)))
        if first and len(course.refused) == len(train):
            reasons = ", ".join(f"{count} {reason}" for reason, count in self._learner.reasons.most_common())
            raise StreamlearnError(f"none of the {len(train)} examples could be learnt: {reasons}")

    def _meet(self, batch: Sequence[Event]) -> None:
        learnt = {event.offset for event in take_step(self._learner, batch).learnt}
        self._course.refused += [event.offset for event in batch if event.offset not in learnt]

    def _meet_again(self, batch: Sequence[Event]) -> None:
        refused = set(self._course.refused)
        self._objective.rehearsal.again([event for event in batch if event.offset not in refused])

    def _judge(self) -> Epoch:
        """Predict the validation data after a pass, save the learner if it is the best, and begin the next pass."""
        course, learner, begun = self._course, self._learner, self._clock()
        learner.prove()
        if course.epoch == 1:
            course.pooling = self._objective.rehearsal.pooling()
        figures = self._objective.judge(self._examples.validation, pooling=course.pooling)
        course.seconds += self._clock() - begun
        spent = course.seconds - sum(epoch.seconds for epoch in filter(None, (course.before, *course.epochs)))
        course.epochs.append(Epoch(course.epoch, figures, spent))
        if course.best is course.epochs[-1]:
            self._unfinished.write_best(learner.step, course.epoch, {"learner": learner.state()})
        course.epoch, course.taken = course.epoch + 1, 0
        self._keep()
        return course.epochs[-1]

    def _keep(self) -> None:
        learner, course = self._learner, self._course
        self._unfinished.write(learner.step, len(course.epochs), {"learner": learner.state(), "course": course.state()})
        self._due.tried(learner.step)

    def publish(self, output: Path, given: dict[str, Any], past: Past | None, *, files: Sequence[Path]) -> Outcome:
        """Restore the best pass, predict the test data, and write everything to `output`."""
        learner, course, examples, objective = self._learner, self._course, self._examples, self._objective
        best = course.best
        assert best is not None  # noqa: S101 - a pass has been made
        learner.load(self._unfinished.best(best.number)["learner"])
        learner.prove()
        test = objective.judge(examples.test) if examples.test else None
        outcome = Outcome(
            output=str(output),
            train=len(examples.train) - len(course.refused),
            labels=len(learner.objective.labels),
            refused=dict(examples.refused + learner.reasons),
            duplicates=examples.duplicates,
            epochs=course.epochs,
            chosen=best.number,
            validation=best.validation,
            test=test,
            transformer_test_accuracy=objective.judge_transformer(examples.test),
            seconds=course.seconds,
            positions=by_name(past.positions) if past else {},
            before=course.before.validation if course.before else None,
        )
        export = learner.export(learner.state())
        if misnamed := SnapshotStore.misnamed(export):
            raise StateError(f"the model cannot be published: {misnamed}")
        alone = {
            "validation": objective.judge_transformer(examples.validation),
            "test": outcome.transformer_test_accuracy,
        }
        provenance = {
            "positions": outcome.positions,
            "events": dict(learner.counts),
            "metrics": objective.metrics(best.validation, test, alone),
            "model": self._config.updater.model,
            "warm_from": learner.updater.warm_from,
            "config_digest": given["settings"],
            "created": time.time(),
            SECTION: {
                "given": given,
                "outcome": asdict(outcome) | {"output": output.name},
                **({"past": past.kept()} if past else {}),
            },
        }
        names = [*([past.name] if past else []), *map(shown_name, files)]
        wording = objective.wording(outcome, adapted=export.adapter is not None)
        texts = {CARD: card(outcome, self._config, wording, names)}
        try:
            write_alone(output, learner.step, export, provenance, texts=texts)
        except OSError as error:
            raise StateError(f"{output} cannot be written: {error.strerror or error}") from None
        return outcome
