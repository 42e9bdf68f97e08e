"""Killed anywhere, the learner comes back with the same bits."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from streamlearn.checkpointing.checkpoints import step_of
from streamlearn.commands.retracing import open_journal
from streamlearn.config import Config, load
from streamlearn.consumer.reread import Rereader
from streamlearn.decisions import Decision
from streamlearn.errors import BrokerError, UnavailableError
from streamlearn.local.broker import Broker
from streamlearn.monitor.metrics import OUTCOMES
from streamlearn.pipeline import Pipeline
from streamlearn.records import Arrival, Range
from streamlearn.state import State
from tests.fault.bits import assert_each_event_once_and_the_same_bits, assert_same_bits
from tests.fault.streams import learner_settings, stream
from tests.fault.victim import POINTS, exit_code, start
from tests.integration.learner import send, surviving_state, wait_until, with_topic
from tests.integration.test_trouble import running

TRAINED = 600  # a multiple of the micro-batch, so that no step waits for more
KILLS = 30


@pytest.fixture(scope="module")
def filled(broker: Broker, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """A topic with the stream, and how many records it has."""
    config = with_topic(learner_settings(broker, "killed", tiny_model, tmp_path_factory.mktemp("filled")))
    records = list(stream(TRAINED))
    send(config, records)
    return "killed", len(records)


@pytest.fixture(scope="module")
def unbroken(
    broker: Broker, filled: tuple[str, int], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> State:
    """What a learner that was never killed comes to."""
    topic, records = filled
    directory = tmp_path_factory.mktemp("unbroken")
    assert exit_code(start(learner_settings(broker, topic, tiny_model, directory), until=records)) == 0
    state = surviving_state(directory / "state")
    assert state["step"] == TRAINED // 4
    return state


@pytest.mark.parametrize("point", POINTS)
def test_killed_after_any_point_the_learner_comes_to_the_bits_of_an_unbroken_run(
    broker: Broker, filled: tuple[str, int], unbroken: State, tiny_model: Path, tmp_path: Path, point: str
) -> None:
    topic, records = filled
    overrides = learner_settings(broker, topic, tiny_model, tmp_path)
    assert exit_code(start(overrides, until=records, point=point)) == -signal.SIGKILL
    assert exit_code(start(overrides, until=records)) == 0
    state = surviving_state(tmp_path / "state")
    state["version"] = unbroken["version"]  # a publication may have been asked for once more
    assert_same_bits(state, unbroken)


def test_told_to_stop_during_recovery_the_learner_leaves_checkpoint_and_journal_as_they_are(
    broker: Broker, filled: tuple[str, int], unbroken: State, tiny_model: Path, tmp_path: Path
) -> None:
    topic, records = filled
    overrides = [
        *learner_settings(broker, topic, tiny_model, tmp_path),
        "publisher.checkpoints.every_steps=40",  # so that many steps are to be taken again, however slow the disk is
        "publisher.snapshots.every_steps=40",
    ]
    assert exit_code(start(overrides, until=records, point="journal append")) == -signal.SIGKILL
    found = newest_checkpoint_and_record(load(overrides=overrides))
    assert exit_code(start(overrides, until=1)) == 0  # it is told to stop as soon as its checkpoint is loaded
    assert newest_checkpoint_and_record(load(overrides=overrides)) == found
    assert exit_code(start(overrides, until=records)) == 0
    state = surviving_state(tmp_path / "state")
    state["version"] = unbroken["version"]
    assert_same_bits(state, unbroken)


def test_where_kafka_stops_answering_during_recovery_it_goes_on_with_the_step_that_was_next(
    broker: Broker,
    filled: tuple[str, int],
    unbroken: State,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    topic, records = filled
    overrides = [
        *learner_settings(broker, topic, tiny_model, tmp_path),
        "publisher.checkpoints.every_steps=1000",
        "publisher.snapshots.every_steps=1000",
    ]
    assert exit_code(start(overrides, until=records, point="journal append")) == -signal.SIGKILL
    answers = iter([True] * 3 + [False] * 2)
    read = Rereader.read

    def sometimes(reader: Rereader, wanted: Range) -> Arrival:
        if next(answers, True):
            return read(reader, wanted)
        raise UnavailableError("Kafka does not answer")

    monkeypatch.setattr(Rereader, "read", sometimes)
    steps: list[int] = []
    with running(Pipeline(load(overrides=overrides), on_step=lambda report: steps.append(report.step))):
        wait_until(lambda: steps[-1:] == [TRAINED // 4], "all is learnt")
    assert steps == list(range(1, TRAINED // 4 + 1))
    assert caplog.text.count("takeover blocked, retrying: Kafka does not answer") == 1
    state = surviving_state(tmp_path / "state")
    state["version"] = unbroken["version"]
    assert_same_bits(state, unbroken)


def newest_checkpoint_and_record(config: Config) -> tuple[dict[Path, bytes], list[Decision]]:
    """Return the files of the newest checkpoint and the steps recorded after it: what a takeover goes by.

    Older checkpoints may go: the killed learner had perhaps not come to removing them.
    """
    newest = max((config.publisher.directory / "checkpoints").glob("0*"))
    files = {path: path.read_bytes() for path in newest.iterdir()}
    return files, open_journal(config).decisions(step_of(newest.name))


def test_sigterm_twice_in_the_middle_of_a_step_ends_it_with_everything_kept(
    broker: Broker, filled: tuple[str, int], tiny_model: Path, tmp_path: Path
) -> None:
    topic, records = filled
    overrides = learner_settings(broker, topic, tiny_model, tmp_path)
    learner = start(overrides, until=records)
    wait_until((tmp_path / "state" / "snapshots" / "latest").exists, "some steps are taken")
    for _ in range(2):
        os.kill(learner.pid or 0, signal.SIGTERM)
    assert exit_code(learner) == 0
    state = surviving_state(tmp_path / "state")
    ((_, _, position),) = state["positions"]
    assert sum(state["counts"].values()) == position
    assert open_journal(load(overrides=overrides)).decisions(state["step"]) == []
    assert exit_code(start(overrides, until=records)) == 0
    assert sum(surviving_state(tmp_path / "state")["counts"].values()) == records


@pytest.mark.parametrize("deleted", ["fail", "skip"])
def test_recorded_steps_whose_records_retention_has_deleted_are_not_passed_over_in_silence(
    apache_kafka: Broker, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, deleted: str
) -> None:
    topic = f"deleted-{deleted}"
    overrides = [
        *learner_settings(apache_kafka, topic, tiny_model, tmp_path),
        "publisher.checkpoints.every_steps=1000",
        "publisher.snapshots.every_steps=1000",
        "updater.max_wait_seconds=0.2",
        f"publisher.journal.deleted={deleted}",
    ]
    config = with_topic(overrides)
    records = list(stream(400))
    send(config, records)
    assert exit_code(start(overrides, until=len(records), point="journal append")) == -signal.SIGKILL
    admin = KafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(topic, 0): 30})
    admin.close()
    pipeline = Pipeline(config)
    if deleted == "fail":
        with pytest.raises(BrokerError, match=r"no longer has \d+ of the records of step 1 .*journal\.deleted"):
            pipeline.run()
        return
    counts = {name: pipeline.monitor.metrics.events.labels(name)._value for name in OUTCOMES}
    with running(pipeline):
        wait_until(lambda: sum(count.get() for count in counts.values()) == len(records), "the rest is learnt")
    assert counts["skipped"].get() == 30
    assert "the step is taken without them" in caplog.text
    assert sum(surviving_state(tmp_path / "state")["counts"].values()) == len(records) - 30


@pytest.mark.timeout(400)
def test_killed_thirty_times_at_random_each_event_is_learnt_once_and_the_record_gives_the_same_bits(
    broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    topic, generator = "killed-at-random", random.Random(7)
    overrides = [
        *learner_settings(broker, topic, tiny_model, tmp_path),
        "publisher.checkpoints.keep=1000",
        "updater.max_wait_seconds=0.2",
    ]
    config = with_topic(overrides, partitions=3)
    records = list(stream(1200))
    send(config, records, partitions=3)
    killed = 0
    while killed < KILLS:
        point, nth = generator.choice(list(POINTS)), generator.randint(1, 12)
        code = exit_code(start(overrides, until=len(records), point=point, nth=nth))
        assert code in (0, -signal.SIGKILL)
        killed += 1
    assert exit_code(start(overrides, until=len(records))) == 0
    assert surviving_state(tmp_path / "state")["counts"]["trained"] == 1200
    assert_each_event_once_and_the_same_bits(config, len(records))
