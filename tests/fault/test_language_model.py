"""A language model is held to what a classifier is: killed, taken over, rebuilt and compared, it keeps its bits."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from streamlearn.local.broker import Broker
from tests.fault.bits import assert_each_event_once_and_the_same_bits
from tests.fault.streams import stream
from tests.fault.test_expert_sets import STEPS, TRAINED, assert_rebuilt_and_compared_to_the_bit, lasting
from tests.fault.victim import exit_code, start
from tests.integration.learner import dealt_with, send, surviving_state, wait_until, with_topic

LANGUAGE = ["updater.objective=language_model", "updater.max_tokens=8", "updater.replay_ratio=0.3"]
SETS = {
    "all": ["updater.trains=all", "updater.dropout=0.1"],
    "last-1": ["updater.trains=last-1", "events.holdout_records=5", "updater.annealing_steps=3"],
    "lora": ["updater.trains=lora", "updater.dropout=0.1", "updater.regularizer=lwf"],
    "ewc": ["updater.trains=all", "updater.regularizer=ewc"],
}


def unlabelled(trained: int) -> list[bytes | None]:
    """Return the stream of the other fault tests as it is without labels: poison that is none then is left out."""
    found: list[bytes | None] = []
    for value in stream(trained):
        try:
            tree = json.loads(value or b"")
        except ValueError:
            found.append(value)
            continue
        if isinstance(tree, dict) and isinstance(tree.get("text"), str) and str(tree.get("id", "")).startswith("e"):
            found.append(json.dumps({name: tree[name] for name in ("text", "id")}).encode())
    return found


def settings_of(broker: Broker, model: Path, directory: Path, more: list[str]) -> list[str]:
    return lasting(broker, model, directory, [*LANGUAGE, *more])


@pytest.mark.parametrize("more", SETS.values(), ids=SETS)
@pytest.mark.parametrize(
    "points",
    [("journal append", "temp write"), ("backward", "rename"), ("optimiser step", "offset commit")],
    ids=lambda points: "+".join(points).replace(" ", "-"),
)
def test_killed_rebuilt_and_compared_a_language_model_keeps_its_bits(
    broker: Broker, tiny_language_model: Path, tmp_path: Path, more: list[str], points: tuple[str, str]
) -> None:
    settings = settings_of(broker, tiny_language_model, tmp_path, more)
    config, records = with_topic(settings), unlabelled(TRAINED)
    send(config, records)
    assert exit_code(start(settings, until=len(records) // 3)) == 0  # so that a checkpoint comes before both kills
    for point, nth in zip(points, (9, 1), strict=True):
        assert exit_code(start(settings, until=len(records), point=point, nth=nth)) == -signal.SIGKILL
    assert exit_code(start(settings, until=len(records))) == 0
    assert_each_event_once_and_the_same_bits(config, len(records))
    assert_rebuilt_and_compared_to_the_bit(config)


def test_a_standby_of_a_language_model_takes_over_with_the_same_bits(
    apache_kafka: Broker, tiny_language_model: Path, tmp_path: Path
) -> None:
    sooner = ["kafka.client.session_timeout_ms=6000", "kafka.client.heartbeat_interval_ms=500"]
    settings = [*settings_of(apache_kafka, tiny_language_model, tmp_path, SETS["all"]), *sooner]
    config, records = with_topic(settings), unlabelled(TRAINED)
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
    assert len(surviving_state(config.publisher.directory)["holdout"]["reference"]) > 0
