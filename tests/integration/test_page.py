"""What the page and the log say of a learner that was started again."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import Broker
from tests.conftest import streamlearn
from tests.integration.learner import LearnerProcess, answers, event, send, wait_until


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """A running broker; the page says the same on either kind."""
    return one_broker


def page(learner: LearnerProcess) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{learner.port}/live.json", timeout=5) as answer:
        return dict(json.load(answer))


def past(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what a page says of the past."""
    kept = ("course", "latest", "counts", "drifts", "publishes", "experts", "predictions", "dead_letters")
    return {name: shown[name] for name in kept}


def test_a_learner_that_is_started_again_shows_the_past_and_counts_on(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [b"no json", b"nor this", b'{"text": "no label"}', *[event(n) for n in range(20)]])
    first = start_learner("events.holdout_ratio=0", "monitor.log_format=json")
    first.wait_for("streamlearn_events_total", 20, outcome="trained")
    wait_until(lambda: len(page(first)["dead_letters"]["last"]) == 3, "the dead letters are told")
    before = page(first)
    assert first.terminate() == 0
    lines = [json.loads(line) for line in first.stderr().splitlines()]
    assert lines[-1]["message"].startswith("stopped at step")
    assert lines[-1]["version"] == 1  # the one that was published at the end
    second = start_learner("events.holdout_ratio=0")
    wait_until(lambda: answers(f"http://127.0.0.1:{second.port}/healthz"), "it answers")
    wait_until(lambda: page(second)["counts"], "the past is shown")
    early = page(second)
    second.wait_until_learning()
    after = page(second)
    assert past(early) == past(after)
    (published,) = after["publishes"]
    assert (published["version"], published["events"]) == (1, 20)
    assert past(after) == past(before) | {"publishes": [published]}
    assert after["predictions"]["events"] == 20
    assert [(letter["reason"], letter["detail"], letter["offset"]) for letter in after["dead_letters"]["last"]] == [
        ("not_json", "", 0),
        ("not_json", "", 1),
        ("missing_field", "label", 2),
    ]
    send(config, [b"again no json", event(20)])
    second.wait_for("streamlearn_events_total", 1, outcome="trained")
    wait_until(lambda: len(page(second)["dead_letters"]["last"]) == 4, "the dead letter is told")
    shown = page(second)
    assert shown["dead_letters"]["reasons"] == {"not_json": 3, "missing_field": 1}
    assert shown["counts"] == {"trained": 21, "dead_letter": 4}


def test_after_a_kill_the_page_shows_each_thing_once(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    first = start_learner("events.holdout_ratio=0", "publisher.checkpoints.every_steps=1000000")
    send(config, [*[event(n) for n in range(20)], b"no json"])
    first.wait_for("streamlearn_events_total", 20, outcome="trained")
    wait_until(lambda: page(first)["dead_letters"]["last"], "the dead letter is told")
    before = page(first)
    first.kill()
    second = start_learner("events.holdout_ratio=0")
    second.wait_until_learning()
    wait_until(lambda: page(second)["dead_letters"]["last"], "the dead letter is told again")
    after = page(second)
    assert after["course"] == before["course"]
    assert after["predictions"] == before["predictions"]
    assert [letter["offset"] for letter in after["dead_letters"]["last"]] == [20]


def test_the_page_and_status_say_what_the_learner_waits_for(
    config: Config, overrides: list[str], start_learner: Callable[..., LearnerProcess]
) -> None:
    send(config, [event(n) for n in range(20)])
    learner = start_learner()
    sets = [f"--set={override}" for override in [*overrides, f"monitor.port={learner.port}"]]

    def waits() -> list[str]:
        return [one["for"] for one in page(learner)["waits"]]

    learner.wait_until_learning()
    wait_until(lambda: waits() == ["events"], "all is learnt, and it waits for events")
    assert (
        "  waiting for events: all that the topic holds has been dealt with (for "
        in streamlearn("status", *sets).stdout
    )
    assert streamlearn("pause", *sets).returncode == 0
    wait_until(lambda: waits() == ["operator"], "it is paused")
    standby = start_learner()
    wait_until(lambda: answers(f"http://127.0.0.1:{standby.port}/readyz"), "the standby has joined")
    wait_until(lambda: [one["for"] for one in page(standby)["waits"]] == ["turn"], "it waits for its turn")
    assert streamlearn("resume", *sets).returncode == 0
    send(config, [event(n) for n in range(20, 40)])
    wait_until(lambda: page(learner)["counts"].get("trained", 0) > 30, "the active one learns")
    assert streamlearn("checkpoint", *sets).returncode == 0
    wait_until(lambda: page(standby)["counts"] == page(learner)["counts"], "the standby shows the newest checkpoint")
