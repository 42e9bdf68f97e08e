"""What the page and the log say of a learner that was started again."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.integration.learner import LearnerProcess, event, send


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """A running broker; the page says the same on either kind."""
    return one_broker


def page(learner: LearnerProcess) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{learner.port}/live.json", timeout=5) as answer:
        return dict(json.load(answer))


def test_after_a_restart_the_page_counts_the_same_dead_letters_by_reason_as_in_all(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [b"no json", b"nor this", b'{"text": "no label"}', *[event(n) for n in range(20)]])
    first = start_learner("events.holdout_ratio=0", "monitor.log_format=json")
    first.wait_for("streamlearn_events_total", 20, outcome="trained")
    assert first.terminate() == 0
    lines = [json.loads(line) for line in first.stderr().splitlines()]
    assert lines[-1]["message"].startswith("stopped at step")
    assert lines[-1]["version"] == 1  # the one that was published at the end
    second = start_learner("events.holdout_ratio=0")
    second.wait_for("streamlearn_active", 1)
    send(config, [b"again no json", event(20)])
    second.wait_for("streamlearn_events_total", 1, outcome="trained")
    shown = page(second)
    assert shown["dead_letters"]["reasons"] == {"not_json": 3, "missing_field": 1}
    assert shown["counts"]["dead_letter"] == 4
