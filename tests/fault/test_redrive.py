"""Dead letters are redriven by processes that are killed: every record is in the topic once, and learnt once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.producer.future import FutureRecordMetadata
from kafka.producer.transaction_manager import TransactionalRequestResult, TransactionManager

from streamlearn.commands.dead_letters import redriven
from streamlearn.config import load
from streamlearn.consumer import redrive
from streamlearn.local.broker import Broker
from tests.fault.streams import learner_settings
from tests.fault.victim import exit_code, start
from tests.forked import FORKS
from tests.integration.learner import LearnerProcess, event, learners, send, surviving_state, with_topic
from tests.integration.redriving import FIX, marks, renamed, time_of

REFUSED = 60
A_TRANSACTION = 16  # letters, so that there are four transactions
POINTS: dict[str, tuple[Any, str, int]] = {
    "it has taken over": (KafkaProducer, "init_transactions", 1),
    "a record is sent and its receipt is not": (KafkaProducer, "send", 2 * A_TRANSACTION + 5),
    "all of a transaction is taken": (FutureRecordMetadata, "get", 4 * A_TRANSACTION),
    "the end of a transaction is begun": (TransactionManager, "begin_commit", 2),
    "the end of a transaction is acknowledged": (TransactionalRequestResult, "wait", 3),
}
"""Where to kill: the function after whose n-th call the process ends."""


@pytest.fixture
def broker(apache_kafka: Broker) -> Broker:
    """Apache Kafka: what is tried here is its transactions."""
    return apache_kafka


def redrive_and_die(overrides: list[str], point: str) -> None:
    """Redrive all letters, and be killed at `point`."""
    owner, name, nth = POINTS[point]
    function, calls = getattr(owner, name), []

    def deadly(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        calls.append(name)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
    redrive.MOST_LETTERS = A_TRANSACTION
    redriven(load(overrides=overrides), [])


def wait_until_read(learner: LearnerProcess, trained: int) -> None:
    learner.wait_for("streamlearn_events_total", trained, outcome="trained")


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_it_redrives_and_run_twice_every_record_is_learnt_once(
    broker: Broker, tiny_model: Path, tmp_path: Path, point: str
) -> None:
    topic = f"redriven-{list(POINTS).index(point)}"
    overrides = [
        *learner_settings(broker, topic, tiny_model, tmp_path),
        "events.holdout_ratio=0",
        "updater.max_wait_seconds=0.2",
    ]
    config = with_topic(overrides)
    send(config, [event(n) if n % 4 == 0 else renamed(n) for n in range(REFUSED * 4 // 3)])
    assert exit_code(start(overrides, until=REFUSED * 4 // 3)) == 0

    fixed = [*overrides, FIX]
    with learners(fixed) as begin:
        learner = begin()  # which reads on while redriving is interrupted
        killed = FORKS.Process(target=redrive_and_die, args=(fixed, point))
        killed.start()
        assert exit_code(killed) == -signal.SIGKILL
        before = len(marks(config))
        assert before in {0, A_TRANSACTION, 2 * A_TRANSACTION}
        found = redriven(load(overrides=fixed), [])
        assert found.sent + found.before == REFUSED
        assert found.before >= before
        assert redriven(load(overrides=fixed), []).sent == 0
        origins = [f"{topic}/0/{n}" for n in range(REFUSED * 4 // 3) if n % 4]
        assert sorted(marks(config)) == sorted(origins)
        wait_until_read(learner, REFUSED)
        assert learner.terminate() == 0
    state = surviving_state(config.publisher.directory)
    assert state["counts"] == {"trained": REFUSED * 4 // 3, "dead_letter": REFUSED}
    times = sorted(held.timestamp for held in state["buffer"]["events"] if held.timestamp < time_of(10_000))
    assert times == [time_of(n) for n in range(REFUSED * 4 // 3) if n % 4]
