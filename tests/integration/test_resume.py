"""A learner that was stopped or killed goes on from its checkpoint: nothing lost, nothing trained twice."""

from __future__ import annotations

from collections.abc import Callable

from kafka import KafkaConsumer, TopicPartition

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.config import Config
from streamlearn.pipeline import Pipeline
from streamlearn.publisher.snapshots import SnapshotStore
from tests.integration.learner import LearnerProcess, event, held_out, learnt, send, surviving_state, wait_until
from tests.integration.test_trouble import running, trained

Start = Callable[..., LearnerProcess]
SENT = 400


def assert_each_event_once(config: Config) -> None:
    """The surviving state holds every event exactly once, trained or held out, and its counts say the same."""
    state = surviving_state(config.publisher.directory)
    assert sorted(learnt(state) + held_out(state)) == [(0, offset) for offset in range(SENT)]
    assert state["counts"]["trained"] == len(learnt(state))
    assert state["counts"]["held_out"] == len(held_out(state))
    assert state["updater"]["transformer"]["optimizer"]["steps"] <= state["step"]


def wait_for_all(learner: LearnerProcess, already: dict[str, int]) -> None:
    """Wait until the process has dealt with what `already`, the counts it started with, leaves of the stream."""
    rest = SENT - sum(already.values())
    learner.wait_for("streamlearn_steps_total", 1)
    wanted = ("trained", "held_out")
    wait_until(
        lambda: sum(learner.metric("streamlearn_events_total", outcome=outcome) for outcome in wanted) >= rest,
        f"{rest} more events",
    )
    learner.wait_until_learning()


def test_after_sigterm_and_a_new_start_each_event_was_learnt_once_and_the_counts_went_on(
    config: Config, start_learner: Start
) -> None:
    send(config, [event(n) for n in range(SENT)])
    first = start_learner("publisher.checkpoints.every_steps=1000", "updater.micro_batch=4")
    first.wait_for("streamlearn_steps_total", 10)
    assert first.terminate() == 0
    between = surviving_state(config.publisher.directory)
    assert 40 <= sum(between["counts"].values()) < SENT
    second = start_learner("updater.micro_batch=4")
    wait_for_all(second, between["counts"])
    assert second.terminate() == 0
    assert_each_event_once(config)
    after = surviving_state(config.publisher.directory)
    assert len(after["accuracy"]["window"]) == min(500, after["counts"]["trained"])
    store = SnapshotStore(config.publisher.directory / "snapshots")
    assert store.manifest(store.resolve("latest"))["events"] == after["counts"]


def test_after_sigkill_the_learner_goes_on_from_its_last_checkpoint(config: Config, start_learner: Start) -> None:
    send(config, [event(n) for n in range(SENT)])
    settings = ["updater.micro_batch=4", "publisher.checkpoints.every_steps=7"]
    first = start_learner(*settings)
    first.wait_for("streamlearn_checkpoints_total", 2, outcome="written")
    first.kill()
    between = surviving_state(config.publisher.directory)
    assert sum(between["counts"].values()) < SENT
    second = start_learner(*settings)
    wait_for_all(second, between["counts"])
    assert second.terminate() == 0
    assert_each_event_once(config)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(config: Config, start_learner: Start) -> None:
    send(config, [event(n) for n in range(SENT)])
    first = start_learner("updater.micro_batch=4")
    first.wait_for("streamlearn_checkpoints_total", 3, outcome="written")
    assert first.terminate() == 0
    newest = max((config.publisher.directory / "checkpoints").iterdir())
    tensors = newest / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[len(content) // 2] ^= 1
    tensors.write_bytes(content)
    between = surviving_state_before(config, newest.name)
    second = start_learner("updater.micro_batch=4")
    wait_for_all(second, between)
    assert second.terminate() == 0
    assert f"{newest.name}/tensors.safetensors is not what was written" in second.stderr()
    assert_each_event_once(config)


def test_a_version_that_latest_no_longer_points_to_is_not_written_again(config: Config) -> None:
    send(config, [event(n) for n in range(100)])
    first, second = Pipeline(config), Pipeline(config)
    with running(first):
        wait_until(lambda: trained(first) > 50, "something is learnt")
    snapshots = SnapshotStore(config.publisher.directory / "snapshots")
    newest = max(snapshots.versions())
    published = snapshots.manifest(newest)
    state = surviving_state(config.publisher.directory)
    checkpoints = CheckpointStore(config.publisher.directory / "checkpoints", keep=3)
    checkpoints.write(state["step"] + 1, newest, state | {"step": state["step"] + 1})  # as one without a snapshot
    (snapshots.directory / "latest").unlink()
    with running(second):
        wait_until(lambda: snapshots.latest() == newest + 1, "the next version is published")
    assert snapshots.manifest(newest) == published


def surviving_state_before(config: Config, name: str) -> dict[str, int]:
    """Return the counts in the newest checkpoint older than the one called `name`."""
    store = CheckpointStore(config.publisher.directory / "checkpoints", keep=3)
    counts: dict[str, int] = store.read(max(older for older in store.names() if older < name))["counts"]
    return counts


def test_the_group_has_the_offsets_of_the_last_checkpoint(config: Config, start_learner: Start) -> None:
    send(config, [event(n) for n in range(100)])
    learner = start_learner()
    learner.wait_for("streamlearn_steps_total", 5)
    assert learner.terminate() == 0
    (_, _, position), *_ = surviving_state(config.publisher.directory)["positions"]
    reader = KafkaConsumer(bootstrap_servers=config.kafka.bootstrap_servers, group_id=config.kafka.group)
    assert reader.committed(TopicPartition(config.kafka.topic, 0)) == position
    reader.close()
