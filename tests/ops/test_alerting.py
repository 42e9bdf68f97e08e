"""A real Prometheus scrapes a real learner: what goes wrong reaches Alertmanager, and nothing else does."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from itertools import count

import pytest

from streamlearn.config import Config
from tests.integration.learner import LearnerProcess, event, send
from tests.ops.promql import exposed_names, names_in, with_histograms
from tests.ops.stack import DEPLOY, Stack, needs
from tests.ops.streams import TRAINED, drifted, flowing, themed

FACTOR = 20

LINTED = 3  # promtool's exit code where it has read all and minds something
TAKEN_FOR_A_UNIT = 'streamlearn_bits_per_byte use base unit "bytes" instead of "bits"'
"""The one thing it minds: the field's name for a ratio of two units, of which it reads the first as that of a size."""


def with_poison(numbers: Iterable[int]) -> Iterator[bytes]:
    """Yield events, and a piece of poison after every second one."""
    for number in numbers:
        yield drifted(number)
        if number % 2:
            yield b"poison"


@pytest.mark.timeout(400)
def test_drift_poison_and_a_kill_reach_alertmanager_and_nothing_else_does(
    config: Config,
    group: str,
    start_learner: Callable[..., LearnerProcess],
    watch: Callable[..., Stack],
) -> None:
    learner = start_learner("events.holdout_ratio=0")
    learner.wait_for("streamlearn_active", 1)
    stack = watch(learner, factor=FACTOR)
    send(config, map(themed, range(TRAINED)))
    learner.wait_for("streamlearn_events_total", TRAINED, outcome="trained")
    send(config, map(drifted, range(TRAINED, 2 * TRAINED)))
    stack.wait_for("StreamlearnDriftDetected", group)
    with flowing(config, with_poison(count(2 * TRAINED)), each=30):
        stack.wait_for("StreamlearnDeadLetterRateHigh", group)
        assert stack.query("streamlearn_active") != []
        learner.kill()
        stack.wait_for("StreamlearnNoActiveLearner", group)
        stack.wait_for("StreamlearnTargetDown", group)
    fired = stack.query('count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[10m]))')
    assert {sample["metric"]["alertname"] for sample in fired} == {
        "StreamlearnDriftDetected",
        "StreamlearnDeadLetterRateHigh",
        "StreamlearnNoActiveLearner",
        "StreamlearnTargetDown",
    }


@pytest.mark.timeout(300)
def test_a_planned_restart_raises_no_alert(
    config: Config,
    start_learner: Callable[..., LearnerProcess],
    watch: Callable[..., Stack],
) -> None:
    learner = start_learner()
    learner.wait_for("streamlearn_active", 1)
    stack = watch(learner, factor=5)  # the learner does not start faster in a faster world
    with flowing(config, map(themed, count())):
        learner.wait_for("streamlearn_steps_total", 30)
        assert learner.terminate() == 0
        successor = start_learner(port=learner.port)
        successor.wait_for("streamlearn_steps_total", 60)
    assert stack.query('max_over_time(ALERTS{alertstate="firing"}[10m])') == []


def test_a_live_scrape_is_what_promtool_wants_and_holds_every_metric_that_is_named_anywhere(
    config: Config, start_learner: Callable[..., LearnerProcess]
) -> None:
    needs("promtool")
    learner = start_learner()
    send(config, [*(event(number) for number in range(200)), b"poison"])
    learner.wait_for("streamlearn_publishes_total", 1, outcome="published")
    learner.wait_for("streamlearn_label_recall_ratio", 0.01, label="label-0")
    with urllib.request.urlopen(f"http://127.0.0.1:{learner.port}/metrics", timeout=10) as answer:
        scrape = answer.read()
    checked = subprocess.run(["promtool", "check", "metrics"], input=scrape, capture_output=True, check=False)
    assert checked.stderr.decode().splitlines() == [TAKEN_FOR_A_UNIT]
    assert checked.returncode == LINTED
    known = with_histograms(exposed_names(scrape.decode()))
    for source in [*DEPLOY.glob("prometheus/*.yaml"), *DEPLOY.glob("grafana/*.json"), *DEPLOY.glob("runbooks/*.md")]:
        missing = {name for name in names_in(source) if name.startswith("streamlearn_")} - known
        assert not missing, f"{source.name} names {missing}"
