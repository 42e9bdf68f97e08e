"""Events that come twice, in another order, or make a loss that is not finite: on real processes that are killed."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from streamlearn.consumer.client import make_producer
from streamlearn.events import Reason
from streamlearn.local.broker import Broker
from streamlearn.local.feed import read_dead_letters
from tests.conftest import OVERFLOWING
from tests.fault.bits import assert_each_event_once_and_the_same_bits
from tests.fault.streams import learner_settings
from tests.fault.victim import exit_code, start
from tests.integration.learner import event, learnt, send, surviving_state, with_topic

PARTITIONS = 3


def settings(broker: Broker, topic: str, model: Path, directory: Path) -> list[str]:
    return [
        *learner_settings(broker, topic, model, directory),
        "events.holdout_ratio=0",
        "publisher.checkpoints.keep=1000",
        "updater.max_wait_seconds=0.2",
    ]


def test_an_event_that_comes_again_on_another_partition_in_another_order_is_learnt_once(
    broker: Broker, tiny_model: Path, tmp_path: Path
) -> None:
    generator = random.Random(5)
    overrides = settings(broker, "duplicates", tiny_model, tmp_path)
    config = with_topic(overrides, partitions=PARTITIONS)
    sent = [*range(300), *generator.sample(range(300), 100), *generator.sample(range(300), 50)]
    generator.shuffle(sent)
    producer = make_producer(config.kafka)
    for number in sent:
        producer.send("duplicates", event(number), partition=generator.randrange(PARTITIONS))
    producer.close()
    assert exit_code(start(overrides, until=len(sent), point="optimiser step", nth=20)) == -signal.SIGKILL
    assert exit_code(start(overrides, until=len(sent), point="rename", nth=3)) == -signal.SIGKILL
    assert exit_code(start(overrides, until=len(sent))) == 0
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"trained": 300, "duplicate": 150}
    assert sorted(held.id for held in state["buffer"]["events"]) == sorted(f"e{n}" for n in range(300))
    assert_each_event_once_and_the_same_bits(config, len(sent))


def test_texts_that_overflow_cost_themselves_alone_and_may_be_sent_again(
    broker: Broker, overflowing_model: Path, tmp_path: Path
) -> None:
    overrides = [*settings(broker, "overflow", overflowing_model, tmp_path), "updater.dropout=0.1"]
    config = with_topic(overrides)
    poisoned = [number for number in range(400) if number % 40 == 13]
    texts = [f"{OVERFLOWING if number in poisoned else 'late'} refund" for number in range(400)]
    values = [event(number, text=text) for number, text in enumerate(texts)]
    send(config, values)
    assert exit_code(start(overrides, until=400, point="backward", nth=31)) == -signal.SIGKILL  # among the attempts
    assert exit_code(start(overrides, until=400, point="optimiser step", nth=20)) == -signal.SIGKILL
    assert exit_code(start(overrides, until=400)) == 0
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"trained": 390, "dead_letter": 10}
    assert learnt(state) == [(0, number) for number in range(400) if number not in poisoned]
    letters = read_dead_letters(config.kafka, len(poisoned))
    assert letters == {n: (values[n], Reason.NOT_FINITE.value) for n in poisoned}
    assert_each_event_once_and_the_same_bits(config, 400)
    send(config, [event(number, text="late refund") for number in poisoned])
    assert exit_code(start(overrides, until=410)) == 0
    assert surviving_state(config.publisher.directory)["counts"] == {"trained": 400, "dead_letter": 10}


@pytest.mark.parametrize("rate", ["1e38", "1e39"], ids=["finite", "not finite"])
def test_weights_that_went_astray_condemn_no_record_and_are_left_behind_by_a_restart_with_a_smaller_rate(
    broker: Broker, tiny_model: Path, tmp_path: Path, rate: str
) -> None:
    topic = f"astray-{rate}"
    alone = ["updater.experts=[transformer]", "updater.optimizer=sgd", "updater.warmup_steps=0"]
    overrides = [*settings(broker, topic, tiny_model, tmp_path), *alone]  # in a mixture it would begin again
    config = with_topic(overrides)
    send(config, map(event, range(100)))
    assert exit_code(start(overrides, until=100)) == 0
    send(config, map(event, range(100, 200)))
    for _ in range(2):
        assert exit_code(start([*overrides, f"updater.learning_rate={rate}"], until=200)) == 1
        assert surviving_state(config.publisher.directory)["counts"] == {"trained": 100}
    assert exit_code(start(overrides, until=200)) == 0
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"trained": 200}
    assert learnt(state) == [(0, number) for number in range(200)]
    assert read_dead_letters(config.kafka, 1) == {}
