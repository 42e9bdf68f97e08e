"""What the model refuses, a model that refuses everything, and a stream of which nothing is left to learn."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlearn.config import Config, load
from streamlearn.errors import FruitlessError
from streamlearn.events import Reason
from streamlearn.learner.standstill import FRUITLESS_STEPS
from streamlearn.local.broker import Broker
from streamlearn.local.feed import read_dead_letters
from streamlearn.pipeline import Pipeline
from streamlearn.reports import StepReport
from tests.conftest import OVERFLOWING
from tests.integration.learner import DEADLINE_SECONDS, LearnerProcess, event, send, surviving_state, wait_until
from tests.integration.test_trouble import running, trained

pytestmark = pytest.mark.fault
Start = Callable[..., LearnerProcess]
ALONE = ["updater.experts=[transformer]", "updater.pooling=native", "updater.trains=all"]  # else others go on
ASTRAY = [
    *ALONE,
    "updater.optimizer=sgd",
    "updater.weight_decay=0",
    "updater.warmup_steps=0",
    "updater.learning_rate=1e38",
]


@pytest.fixture
def broker(one_broker: Broker) -> Broker:
    """Apache Kafka where there is one: nothing here depends on the kind."""
    return one_broker


def ended(learner: LearnerProcess) -> tuple[int, str]:
    """Wait for the process and return its exit code and its last line."""
    code = learner.process.wait(DEADLINE_SECONDS)
    return code, learner.stderr().strip().splitlines()[-1]


def answer(pipeline: Pipeline, path: str) -> tuple[int, str]:
    assert pipeline.monitor.server
    try:
        with urllib.request.urlopen(f"{pipeline.monitor.server.url}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_rate_that_ruins_the_model_condemns_no_record_and_after_a_smaller_one_all_of_it_is_learnt(
    config: Config, start_learner: Start
) -> None:
    send(config, [event(n) for n in range(120)])
    often = ["publisher.checkpoints.every_steps=1", "publisher.snapshots.every_steps=1"]
    for _ in range(2):
        code, said = ended(start_learner(*often, *ASTRAY))
        assert (code, "the model has gone astray" in said, "updater.learning_rate (1e+38)" in said) == (1, True, True)
        assert "continues after step 0" in said
    assert not list(config.publisher.directory.glob("checkpoints/0*"))
    assert not list(config.publisher.directory.glob("snapshots/*"))
    learner = start_learner()
    wait_until(
        lambda: sum(learner.metric("streamlearn_events_total", outcome=o) for o in ("trained", "held_out")) == 120,
        "all is learnt",
    )
    assert learner.terminate() == 0
    assert "dead_letter" not in surviving_state(config.publisher.directory)["counts"]
    assert read_dead_letters(config.kafka, 1) == {}


def test_what_a_step_did_to_the_model_shows_also_where_nothing_comes_after_it(
    config: Config, start_learner: Start
) -> None:
    send(config, [event(n) for n in range(8)])
    code, said = ended(start_learner(*ASTRAY, "events.holdout_ratio=0", "publisher.checkpoints.every_steps=1000"))
    assert (code, "the model has gone astray" in said) == (1, True)


def test_a_stream_of_which_nothing_can_be_learnt_ends_the_learner_and_the_next_one_goes_on_behind_it(
    config: Config, overrides: list[str], overflowing_model: Path
) -> None:
    settings = [
        *overrides,
        *ALONE,
        f"updater.model={overflowing_model}",
        "updater.micro_batch=2",
        "events.holdout_ratio=0",
    ]
    bad, good = 2 * FRUITLESS_STEPS, 40
    send(config, [event(n, text=f"{OVERFLOWING} refund") for n in range(bad)])
    send(config, [event(n, text="late refund") for n in range(bad, bad + good)])
    readiness: dict[int, tuple[int, str]] = {}

    def ask(report: StepReport) -> None:
        readiness[report.step] = answer(pipeline, "readyz")
        if report.step == 2:
            readiness[0] = 200, json.loads(answer(pipeline, "live.json")[1])["state"]

    pipeline = Pipeline(load(overrides=settings), on_step=ask)
    with pytest.raises(FruitlessError, match=rf"last {FRUITLESS_STEPS} steps could be learnt.*{config.kafka.topic}"):
        pipeline.run()
    assert (readiness[1][0], readiness[2][0]) == (200, 503)
    assert readiness[FRUITLESS_STEPS] == (503, f"refusing every event for {FRUITLESS_STEPS} steps\n")
    assert readiness[0][1] == "refusing every event for 2 steps"
    pipeline = Pipeline(load(overrides=settings))
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == good, "the rest is learnt")
        assert answer(pipeline, "readyz") == (200, "ready\n")
    assert surviving_state(config.publisher.directory)["counts"] == {"trained": good, "dead_letter": bad}
    letters = read_dead_letters(config.kafka, bad + 1)
    assert {n: reason for n, (_, reason) in letters.items()} == dict.fromkeys(range(bad), Reason.NOT_FINITE.value)


@pytest.mark.parametrize(("labels", "outcome"), [("discover", "held_out"), ("[label-0, label-1]", "dead_letter")])
def test_nothing_learnt_nothing_published_and_the_next_start_goes_on(
    config: Config, overrides: list[str], caplog: pytest.LogCaptureFixture, labels: str, outcome: str
) -> None:
    settings = [*overrides, f"events.labels={labels}", "publisher.snapshots.every_steps=1"]
    caplog.set_level("INFO")
    latest = config.publisher.directory / "snapshots" / "latest"
    for number in range(2):
        caplog.clear()
        send(config, [event(n) if outcome == "held_out" else None for n in range(3 * number, 3 * number + 3)])
        pipeline = Pipeline(load(overrides=[*settings, "events.holdout_ratio=0.999999"]))
        count = pipeline.monitor.metrics.events.labels(outcome)._value
        with running(pipeline):
            wait_until(lambda count=count: count.get() == 3, "all is dealt with")  # type: ignore[misc]
        assert caplog.text.count("nothing is published before the first event has been learnt") == 1
        assert not latest.is_symlink()
    send(config, [event(n, label="label-0") for n in range(6, 26)])
    with running(Pipeline(load(overrides=[*settings, "events.holdout_ratio=0"]))):
        wait_until(latest.is_symlink, "a snapshot is published")
