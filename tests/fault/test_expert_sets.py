"""Whatever experts are mixed: killed, taken over, rebuilt and compared, they keep their bits."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from streamlearn.checkpointing.checkpoints import step_of
from streamlearn.commands.compare import compare
from streamlearn.commands.rebuild import rebuild
from streamlearn.config import Config
from streamlearn.local.broker import Broker
from streamlearn.publisher.snapshots import SnapshotStore
from streamlearn.storage.layout import EXPERTS
from streamlearn.storage.states import unpack
from tests.fault.bits import assert_each_event_once_and_the_same_bits
from tests.fault.streams import learner_settings, stream
from tests.fault.victim import exit_code, start
from tests.integration.learner import dealt_with, send, surviving_state, wait_until, with_topic

TRAINED = 160  # a multiple of the micro-batch, so that no step waits for more
STEPS = TRAINED // 4
SETS = {
    "tokens": ["updater.experts=tokens"],
    "frozen": ["updater.experts=frozen"],
    "tuned": ["updater.experts=tuned", "updater.trains=last-1", "updater.dropout=0.1"],
    "transformer": ["updater.experts=[transformer]", "updater.pooling=native"],
    "odd": ["updater.experts=[naive_bayes, frozen_long_memory, transformer]", "updater.trains=head"],
    "lora": ["updater.experts=tuned", "updater.trains=lora", "updater.dropout=0.1"],
    "bias": ["updater.experts=[transformer, averaged]", "updater.trains=bias", "updater.regularizer=l2_sp"],
    "ewc": ["updater.experts=[transformer, averaged]", "updater.trains=last-1", "updater.regularizer=ewc"],
    "lwf": ["updater.experts=[transformer, naive_bayes]", "updater.regularizer=lwf", "updater.dropout=0.1"],
    "der": ["updater.experts=[transformer, least_squares]", "updater.regularizer=der", "updater.dropout=0.1"],
}
ASTRAY = ["updater.experts=[transformer, naive_bayes]", "updater.trains=all", "updater.learning_rate=1e38"]
"""A transformer that is not finite after any step, and so starts over again and again."""


def lasting(broker: Broker, model: Path, directory: Path, experts: list[str]) -> list[str]:
    """Return the settings of a learner of `experts` of which all that it ever keeps stays."""
    settings = learner_settings(broker, f"experts-{directory.name}", model, directory)
    return [*settings, "publisher.checkpoints.keep=1000", "publisher.snapshots.keep=20", *experts]


def assert_rebuilt_and_compared_to_the_bit(config: Config) -> None:
    """Each snapshot is made again with the same bits, and the recorded configuration fares as it did."""
    for version in SnapshotStore(config.publisher.directory / "snapshots").versions():
        assert rebuild(config, str(version)).difference is None
    first = min(path.name for path in (config.publisher.directory / "checkpoints").iterdir())
    recorded, other = compare(config, from_step=step_of(first))
    assert recorded.steps == STEPS - step_of(first)
    assert dataclasses.replace(other, configuration="recorded") == recorded


@pytest.mark.parametrize("experts", [*SETS.values(), ASTRAY], ids=[*SETS, "astray"])
def test_killed_rebuilt_and_compared_any_set_of_experts_keeps_its_bits(
    broker: Broker, tiny_model: Path, tmp_path: Path, experts: list[str]
) -> None:
    settings = lasting(broker, tiny_model, tmp_path, experts)
    config, records = with_topic(settings), list(stream(TRAINED))
    send(config, records)
    assert exit_code(start(settings, until=len(records) // 3)) == 0  # so that a checkpoint comes before both kills
    for point, nth in (("journal append", 9), ("temp write", 1)):
        assert exit_code(start(settings, until=len(records), point=point, nth=nth)) == -signal.SIGKILL
    assert exit_code(start(settings, until=len(records))) == 0
    assert_each_event_once_and_the_same_bits(config, len(records))
    assert_rebuilt_and_compared_to_the_bit(config)


@pytest.mark.parametrize("experts", SETS.values(), ids=SETS)
def test_a_standby_of_any_set_of_experts_takes_over_with_the_same_bits(
    apache_kafka: Broker, tiny_model: Path, tmp_path: Path, experts: list[str]
) -> None:
    sooner = ["kafka.client.session_timeout_ms=6000", "kafka.client.heartbeat_interval_ms=500"]
    settings = [*lasting(apache_kafka, tiny_model, tmp_path, experts), *sooner]
    config, records = with_topic(settings), list(stream(TRAINED))
    send(config, records[: len(records) // 2])
    active = start(settings, until=len(records), point="journal append", nth=STEPS * 3 // 4)
    wait_until(lambda: dealt_with(config) > 0, "the first is active")
    standby = start(settings, until=len(records))
    seats = config.publisher.directory / "seats"
    wait_until(lambda: sum(seat.stat().st_size > 0 for seat in seats.glob("*-[0-9]")) == 2, "the second stands by")
    send(config, records[len(records) // 2 :])
    assert exit_code(active) == -signal.SIGKILL
    assert exit_code(standby) == 0
    assert_each_event_once_and_the_same_bits(config, len(records))


def test_a_checkpoint_and_a_snapshot_are_made_while_an_expert_is_left_out(
    broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    settings = lasting(broker, tiny_model, tmp_path, ASTRAY)
    config, records = with_topic(settings), list(stream(TRAINED))
    send(config, records)
    assert exit_code(start(settings, until=len(records))) == 0
    kept = surviving_state(config.publisher.directory)["updater"]["pool"]
    published = unpack(config.publisher.directory / "snapshots" / "latest" / EXPERTS)["pool"]
    for pool in (kept, published):
        assert dict(zip(pool["experts"], pool["left_out"], strict=True)) == {
            "transformer": "not_finite",
            "naive_bayes": "",
        }
