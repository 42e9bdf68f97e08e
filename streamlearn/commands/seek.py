"""Moves a stopped learner to another position in its topic: its state stays, only its positions change.

It is a decision like those that make up steps: one line of the journal, written under the fence, for a separate step
without records. The next learner to start re-runs it after the steps that no checkpoint contains yet, and continues
from there.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.checkpointing.fence import Fence, source_of
from streamlearn.checkpointing.journal import Journal
from streamlearn.checkpointing.keeper import Keeper
from streamlearn.checkpointing.seat import Seat, sitting
from streamlearn.config import Config, Kafka
from streamlearn.config.start import Start, parse
from streamlearn.consumer import make_source
from streamlearn.consumer.seeking import Places, commit, find, members
from streamlearn.decisions import Decision, Seek
from streamlearn.errors import BrokerError, ConfigurationError, StateError, StreamlearnError
from streamlearn.records import Partition, Positions, Topics
from streamlearn.state import State

CLAIM_SECONDS = 10.0


@dataclass(frozen=True)
class Move:
    """One partition that is moved; ``before`` is None if the learner has not read it yet."""

    topic: str
    partition: int
    before: int | None
    to: int
    skipped: int
    again: int


@dataclass(frozen=True)
class Sought:
    """The effect of a seek.

    Attributes
    ----------
    step
        The number of its step.
    moves
        The partitions that it moves; empty if the learner is there already.
    done
        Whether it has been done.
    untold
        Why the positions could not be committed to the group; empty if they were.

    """

    step: int
    moves: list[Move]
    done: bool = False
    untold: str = ""

    @property
    def skipped(self) -> int:
        """How many offsets are skipped and never learnt."""
        return sum(move.skipped for move in self.moves)

    @property
    def again(self) -> int:
        """How many offsets are read again."""
        return sum(move.again for move in self.moves)


@dataclass(frozen=True)
class _Left:
    """Where the last learner ended, which is where the next one would continue.

    ``traces`` are the files that show it; they change when a learner continues.
    """

    step: int
    positions: Positions
    topics: Topics
    configuration: dict[str, Any]
    traces: list[str]


def plan(config: Config, to: str) -> Sought:
    """Return what moving the stopped learner of `config` to `to` would do, without changing anything.

    Raises
    ------
    ConfigurationError
        If `to` is not a position in the topic.
    StreamlearnError
        If a learner is running or standing by, or another seek is in progress.
    StateError
        If there is no state that can be used.
    BrokerError
        If Kafka cannot be asked, or the topic is not the one that was learnt.

    """
    start = _parsed(to)
    ghosts = _refuse_beside_a_learner(config)
    left = _left(config)
    _refuse_beside_members(config.kafka, but=ghosts)
    return _planned(config, left, find(config.kafka, start))


def seek(config: Config, to: str, *, back: bool) -> Sought:
    """Move the stopped learner of `config` to `to`, and commit that to its group.

    Parameters
    ----------
    config
        The whole configuration.
    to
        A position in the format of ``kafka.start``.
    back
        Whether it may also move back, so that events are learnt again; otherwise nothing is done in that case.

    Raises
    ------
    StreamlearnError
        As in :func:`plan`, and if a learner starts meanwhile.

    """
    start = _parsed(to)
    ghosts = _refuse_beside_a_learner(config)
    left = _left(config)
    seat = Seat(config.publisher.directory / "seats")
    try:
        for ghost in ghosts:  # otherwise the group would keep the member until its session times out
            make_source(config).expel(ghost)
        _refuse_beside_members(config.kafka)
        places = find(config.kafka, start)
        planned = _planned(config, left, places)
        if planned.again and not back:
            return planned
        if planned.moves:
            _decide(config, left, planned)
        else:
            _sync(config)
        return replace(planned, done=True, untold=commit(config.kafka, left.positions | places.targets))
    finally:
        seat.leave()


def _parsed(to: str) -> Start:
    try:
        return parse(to)
    except ValueError as error:
        raise ConfigurationError(f"--to {to}: {error}") from None


def _refuse_beside_a_learner(config: Config) -> list[str]:
    """Raise an error if a learner uses the directory; return the members of the group that were killed here."""
    directory = config.publisher.directory
    try:
        taken, ghosts = sitting(directory / "seats")
    except OSError as error:
        raise StateError(f"publisher.directory {directory} cannot be used: {error}") from None
    if taken:
        raise StreamlearnError(
            f"a learner runs or stands by with publisher.directory {directory}, or another seek is at work; "
            "stop the learner, or let the seek end, first"
        )
    return ghosts


def _refuse_beside_members(kafka: Kafka, *, but: Collection[str] = ()) -> None:
    """Raise an error if the group has members other than `but`."""
    if hosts := [host for member, host in members(kafka).items() if member not in but]:
        raise StreamlearnError(
            f"group {kafka.group} has a member on {hosts[0]}: stop that learner first; "
            "one that was killed is missed after its session, ten seconds as a rule"
        )


def _planned(config: Config, left: _Left, places: Places) -> Sought:
    now = make_source(config).topics()
    if left.topics and now and left.topics != now:
        raise BrokerError(
            f"topic '{config.kafka.topic}' was deleted and created again, and positions are those of the old one; "
            "kafka.out_of_range says where a learner goes on in the new one"
        )
    moves = [_move(key, left.positions.get(key), target, places) for key, target in places.targets.items()]
    return Sought(left.step + 1, [move for move in moves if move.skipped or move.again])


def _move(key: Partition, before: int | None, to: int, places: Places) -> Move:
    since = places.first[key] if before is None else before  # a new partition is read from its beginning
    return Move(*key, before, to, skipped=max(0, to - since), again=max(0, since - to))


def _left(config: Config) -> _Left:
    """Find out where the last learner ended, from its newest intact checkpoint and the journal after it."""
    directory = config.publisher.directory
    try:
        Fence(directory, source=source_of(config.kafka.group, config.kafka.topic)).look()
        traces = _traces(config)
        state = _newest(config)
        step = state["step"] if state else 0
        stretches = _journal(config).stretches(step)
    except OSError as error:
        raise StateError(f"publisher.directory {directory} cannot be read: {error}") from None
    decisions = [decision for stretch in stretches for decision in stretch.decisions]
    if state is None and not decisions:
        raise StateError(
            f"publisher.directory {directory} holds no state; kafka.start says where a learner without any begins"
        )
    positions = {(topic, partition): offset for topic, partition, offset in state["positions"]} if state else {}
    topics = dict(state.get("topics", {})) if state else {}
    for decision in decisions:
        positions |= _reached(decision)
        topics = decision.topics or topics
    settings = stretches[-1].configuration if stretches else _settings(config, step)
    return _Left(step + len(decisions), positions, topics, settings, traces)


def _newest(config: Config) -> State | None:
    """Return the state that a learner would continue from, or None if no checkpoint has been written yet."""
    checkpoints = _checkpoints(config)
    refused = []
    for name, state in checkpoints.newest():
        if not isinstance(state, StateError):
            return state
        refused.append(name)
    if refused:
        raise StateError(f"none of the checkpoints in {checkpoints.directory} can be used ({', '.join(refused)})")
    return None


def _checkpoints(config: Config) -> CheckpointStore:
    return CheckpointStore(config.publisher.directory / "checkpoints", keep=config.publisher.checkpoints.keep)


def _journal(config: Config) -> Journal:
    return Journal(config.publisher.directory / "journal", configuration=config.decisive())


def _traces(config: Config) -> list[str]:
    segments = [f"{segment.path.name} {segment.path.lstat().st_size}" for segment in _journal(config).segments()]
    return [*_checkpoints(config).names(), *segments]


def _reached(decision: Decision) -> Positions:
    """Return the positions after `decision`."""
    if isinstance(decision, Seek):
        return {(topic, partition): offset for topic, partition, offset in decision.positions}
    return {(taken.topic, taken.partition): taken.end for taken in decision.ranges}


def _settings(config: Config, step: int) -> dict[str, Any]:
    """Return the settings that were recorded last, which a seek does not change."""
    try:
        return _journal(config).configuration(step)
    except StateError:
        return config.decisive()


def _sync(config: Config) -> None:
    """See to it that what has moved the learner lasts: a seek that was killed may have written it and not synced it."""
    try:
        _journal(config).sync()
    except OSError as error:
        directory = config.publisher.directory
        raise StateError(
            f"the learner is there already, but its journal in publisher.directory {directory} could not be synced "
            f"({error.strerror}): a loss of power may undo that; give the command again"
        ) from None


def _decide(config: Config, left: _Left, sought: Sought) -> None:
    """Claim the directory and record the decision."""
    kafka, deadline = config.kafka, time.monotonic() + CLAIM_SECONDS
    keeper = Keeper(config.publisher, configuration=left.configuration, source=source_of(kafka.group, kafka.topic))
    positions = [(move.topic, move.partition, move.to) for move in sought.moves]
    try:
        keeper.check()
        keeper.claim(waiting=lambda: time.monotonic() < deadline)
        if _traces(config) != left.traces:
            raise StreamlearnError("a learner has gone on since it was looked at; stop it and give the command again")
        keeper.decide(Seek(sought.step, positions=positions, skipped=sought.skipped), left.topics)
    except OSError as error:
        raise StateError(f"publisher.directory {config.publisher.directory} cannot be written: {error}") from None
    finally:
        keeper.close()
