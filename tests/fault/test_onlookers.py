"""Whoever looks on does not get in the way: readers of snapshots, Prometheus, and the clock on the wall."""

from __future__ import annotations

import itertools
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from streamlearn.pipeline import Pipeline
from streamlearn.publisher.snapshots import SnapshotStore
from tests.integration.conftest import settings
from tests.integration.learner import event, send, wait_until, with_topic
from tests.integration.test_trouble import running, trained

EVENTS = 480
TOPICS = itertools.count()


@pytest.fixture
def config(broker: Broker, tiny_model: Path, tmp_path: Path) -> Config:
    overrides = [
        *settings(broker, f"onlookers-{next(TOPICS)}", tiny_model, tmp_path),
        "events.holdout_ratio=0",
        "publisher.snapshots.every_steps=2",
        "publisher.snapshots.keep=5",
    ]
    config = with_topic(overrides)
    send(config, [event(n) for n in range(EVENTS)])
    return config


def test_a_reader_in_a_loop_never_meets_a_broken_snapshot(config: Config) -> None:
    pipeline = Pipeline(config)
    latest = config.publisher.directory / "snapshots" / "latest"
    read: set[str] = set()
    sent = EVENTS
    with running(pipeline):
        wait_until(latest.exists, "a first snapshot")
        while len(read) < 8:
            path = latest.resolve()
            model = AutoModelForSequenceClassification.from_pretrained(path)
            assert all(torch.isfinite(value).all() for value in model.state_dict().values())
            read.add(path.name)
            if trained(pipeline) == sent:
                send(config, [event(n) for n in range(sent, sent + 64)])
                sent += 64
    store = SnapshotStore(latest.parent)
    assert store.versions()[0] > 1  # some were retired meanwhile
    for version in store.versions():
        store.verify(version)


def test_a_stalled_and_a_hasty_prometheus_do_not_slow_the_learner_down_to_a_stop(config: Config) -> None:
    pipeline, scrapes, ended = Pipeline(config), 0, threading.Event()

    def scrape() -> None:
        nonlocal scrapes
        while not ended.wait(0.02):
            assert pipeline.monitor.server
            with urllib.request.urlopen(
                f"http://127.0.0.1:{pipeline.monitor.server.port}/metrics", timeout=10
            ) as answer:
                assert b"streamlearn_steps_total" in answer.read()
            scrapes += 1

    with running(pipeline):
        wait_until(lambda: pipeline.monitor.server is not None, "the server")
        assert pipeline.monitor.server
        with socket.create_connection(("127.0.0.1", pipeline.monitor.server.port)) as stalled:
            stalled.sendall(b"GET /metrics HTTP/1.1\r\n")  # and nothing more, ever
            hasty = threading.Thread(target=scrape)
            hasty.start()
            wait_until(lambda: trained(pipeline) == EVENTS, "all is learnt")
            ended.set()
            hasty.join()
    assert scrapes > 2


def test_a_clock_that_is_set_back_changes_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time()
    hours = itertools.count()
    monkeypatch.setattr(time, "time", lambda: start - 3600.0 * next(hours))
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == EVENTS, "all is learnt")
    store = SnapshotStore(config.publisher.directory / "snapshots")
    assert store.verify(store.resolve("latest"))["events"] == {"trained": EVENTS}
