"""An error that nobody foresaw, in whatever thread, ends the learner with one sentence: nothing dies in silence."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from kafka.net.selector import NetworkSelector

from streamlearn.checkpointing.checkpoints import CheckpointStore
from streamlearn.config import Config
from streamlearn.consumer import dead_letters
from streamlearn.consumer.consumer import Consumer
from streamlearn.consumer.decode import Decoder
from streamlearn.errors import UnforeseenError
from streamlearn.local.broker import Broker
from streamlearn.pipeline import Pipeline
from streamlearn.reports import StepReport
from tests.integration.conftest import settings
from tests.integration.learner import event, send, with_topic

TEXT = "the text of an event"

THREADS: dict[str, tuple[Any, str]] = {
    "dead-letters": (dead_letters, "write"),
    "publisher": (CheckpointStore, "write"),
    "consumer": (Decoder, "decode"),
    "http": (uvicorn.Server, "on_tick"),
}
"""A thread of the learner, and what it runs."""


@pytest.fixture
def config(one_broker: Broker, topic: str, tiny_model: Path, tmp_path: Path) -> Config:
    overrides = [*settings(one_broker, topic, tiny_model, tmp_path), "events.holdout_ratio=0"]
    config = with_topic(overrides)
    send(config, [*(event(n) for n in range(100)), b"no JSON"])
    return config


def broken(*_: Any, **__: Any) -> Any:
    raise LookupError(TEXT)


@pytest.fixture(autouse=True)
def _no_other_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let threads end as they do outside pytest, which counts what they raise as a mistake of the test."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


@pytest.mark.parametrize("thread", THREADS)
def test_what_nobody_foresaw_in_a_thread_ends_the_learner_with_one_sentence(
    config: Config, thread: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner, name = THREADS[thread]
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(UnforeseenError, match=f"the thread '{thread}' ended with LookupError in test_threads.py"):
        Pipeline(config).run()
    assert f"unforeseen in the thread {thread}:" in caplog.text
    assert "in broken" in caplog.text
    assert TEXT not in caplog.text


def test_what_kafka_python_would_keep_to_itself_ends_the_learner_too(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(config)

    def break_down(when: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            result = when(*arguments, **options)
            monkeypatch.setattr(NetworkSelector, "_schedule_tasks", broken)  # on kafka-python's own thread
            return result

        return wrapped

    monkeypatch.setattr(Consumer, "read_from", break_down(Consumer.read_from))
    with pytest.raises(UnforeseenError, match="the thread 'consumer' ended with LookupError"):
        pipeline.run()


def test_an_error_in_what_hears_of_a_lost_membership_ends_the_learner_too(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Consumer, "_on_lost", broken)

    def lose(_: StepReport) -> None:
        pipeline.consumer._client._subscription.rebalance_listener.on_partitions_lost([])

    pipeline = Pipeline(config, on_step=lose)
    with pytest.raises(UnforeseenError, match="the thread 'consumer' ended with LookupError"):
        pipeline.run()


def test_a_thread_that_no_part_of_the_learner_looks_after_ends_it_too(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_another(_: StepReport) -> None:
        threading.Thread(target=broken, name="another").start()

    pipeline = Pipeline(config, on_step=start_another)
    monkeypatch.setattr(threading, "excepthook", pipeline.thread_died)
    with pytest.raises(UnforeseenError, match="the thread 'another' ended with LookupError"):
        pipeline.run()


def test_the_process_ends_with_1_and_its_last_line_is_the_sentence(config: Config) -> None:
    code = (
        "from streamlearn.consumer import dead_letters\n"
        "from streamlearn import cli\n"
        "def broken(*_, **__): raise LookupError('the text of an event')\n"
        "dead_letters.write = broken\n"
        "cli.main()\n"
    )
    kafka, updater = config.kafka, config.updater
    overrides = [
        f"kafka.bootstrap_servers={kafka.bootstrap_servers}",
        f"kafka.topic={kafka.topic}",
        f"updater.model={updater.model}",
        f"publisher.directory={config.publisher.directory}",
        "monitor.port=0",
    ]
    command = [sys.executable, "-c", code, "run", *(f"--set={override}" for override in overrides)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("streamlearn: the thread 'dead-letters' ended with LookupError")
    assert TEXT not in done.stderr
