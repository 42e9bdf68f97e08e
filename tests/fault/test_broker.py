"""A broker that is stopped, killed or frozen under load: the learner waits, says so once, and goes on."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.consumer import ends
from streamlearn.local.broker import ApacheKafka
from streamlearn.pipeline import Pipeline
from tests.integration.conftest import settings
from tests.integration.learner import event, learnt, send, surviving_state, wait_until, waits_for, with_topic
from tests.integration.test_trouble import running, trained


def stop_and_start(broker: ApacheKafka, gone: Callable[[], None]) -> None:
    broker.stop()
    gone()
    broker.start()


def kill_and_start(broker: ApacheKafka, gone: Callable[[], None]) -> None:
    os.kill(broker.pid, signal.SIGKILL)
    gone()
    broker.stop()
    broker.start()


def freeze_and_thaw(broker: ApacheKafka, gone: Callable[[], None]) -> None:
    os.kill(broker.pid, signal.SIGSTOP)
    gone()
    os.kill(broker.pid, signal.SIGCONT)


@pytest.mark.parametrize("trouble", [stop_and_start, kill_and_start, freeze_and_thaw])
def test_the_learner_waits_for_its_broker_says_so_once_and_goes_on(
    own_broker: ApacheKafka,
    trouble: Callable[[ApacheKafka, Callable[[], None]], None],
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, logger="streamlearn")
    monkeypatch.setattr(ends, "INTERVAL_SECONDS", 0.5)
    overrides = [*settings(own_broker, "troubled", tiny_model, tmp_path), "events.holdout_ratio=0"]
    config = with_topic(overrides)
    send(config, [event(n) for n in range(100)])
    pipeline = Pipeline(config)

    def said(sentence: str) -> int:
        return sum(sentence in message for message in caplog.messages)

    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 100, "the first half is learnt")

        def it_waits() -> None:
            wait_until(lambda: said("waiting for Kafka") == 1, "it says that it waits")
            wait_until(lambda: waits_for(pipeline) == ["kafka"], "the page says so")

        trouble(own_broker, it_waits)
        send(config, [event(n) for n in range(100, 200)])
        wait_until(lambda: trained(pipeline) == 200, "the second half is learnt")
        wait_until(lambda: said("answers again") == 1, "it says that it goes on")
    assert said("waiting for Kafka") == said("answers again") == 1
    assert learnt(surviving_state(config.publisher.directory)) == [(0, offset) for offset in range(200)]
