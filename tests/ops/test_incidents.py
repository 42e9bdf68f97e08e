"""Seven incidents, each walked by its runbook alone: the alert fires, the diagnosis finds the cause, the fix works.

A walk reads as one of the person on call: what is asked is in the runbook at the place that the walk names, and the
answer decides which way to go. `deploy/runbooks/README.md` keeps the outcomes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import compress, count
from pathlib import Path

import pytest

from streamlearn.config import Config
from streamlearn.local.broker import ApacheKafka, Broker
from streamlearn.monitor.metrics import DETECTORS
from tests.conftest import OVERFLOWING, fill
from tests.integration.learner import LearnerProcess, event, send, wait_until
from tests.ops.runbooks import Desk
from tests.ops.stack import Stack
from tests.ops.streams import TRAINED, flowing, renewed, themed

Start = Callable[..., LearnerProcess]
Watch = Callable[..., Stack]
Seat = Callable[..., Desk]
SAMPLE = re.compile(r"(?P<labels>\{.*\}) => (?P<value>\S+) @")
FACTOR = 20

pytestmark = pytest.mark.timeout(400)


def values(answer: str, *labels: str) -> list[float]:
    """Return the values in an answer of promtool's, of the samples with all of `labels`."""
    samples = SAMPLE.finditer(answer)
    return [float(sample["value"]) for sample in samples if all(label in sample["labels"] for label in labels)]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker of this file's own, which may be stopped."""
    if not os.environ.get("KAFKA_HOME"):
        pytest.skip("KAFKA_HOME names no Apache Kafka, whose tools the runbooks use")
    with ApacheKafka(Path(os.environ["KAFKA_HOME"])).start() as broker:
        yield broker


@pytest.fixture
def seat(tmp_path: Path, overrides: list[str]) -> Seat:
    """Sit down at a desk beside a learner."""
    return lambda learner, stack, *more: Desk(tmp_path, [*overrides, *more], learner, stack)


def test_a_broker_is_stopped(
    broker: Broker, config: Config, group: str, start_learner: Start, watch: Watch, seat: Seat
) -> None:
    learner = start_learner()
    send(config, map(themed, range(200)))
    learner.wait_for("streamlearn_events_total", 150, outcome="trained")
    stack = watch(learner, factor=FACTOR)
    broker.stop()
    alert = "StreamlearnKafkaUnreachable"
    stack.wait_for(alert, group)

    desk = seat(learner, stack)
    assert "ready" in desk.answer(alert, "Diagnosis 2")  # and it was not just started: step 3
    assert f"waiting for Kafka at {broker.bootstrap_servers}" in learner.stderr()  # a timeout: step 4
    assert "no Kafka broker answers at" in desk.answer(alert, "Diagnosis 4")  # step 5
    assert "Leader:" not in desk.answer(alert, "Diagnosis 5")  # nor from elsewhere: A

    broker.start()
    stack.wait_until_over(alert, group)
    assert values(desk.answer(alert, "Mitigation")) == [1]
    assert f"Kafka at {broker.bootstrap_servers} answers again" in learner.stderr()
    send(config, map(themed, range(200, 400)))
    learner.wait_for("streamlearn_events_total", 320, outcome="trained")


def test_a_disk_is_full(group: str, config: Config, disk: Path, start_learner: Start, watch: Watch, seat: Seat) -> None:
    state = f"publisher.directory={disk / 'state'}"
    learner = start_learner(state)
    learner.wait_for("streamlearn_active", 1)
    stack = watch(learner, factor=FACTOR)
    alert = "StreamlearnCheckpointFailing"
    with flowing(config, map(themed, count())):
        learner.wait_for("streamlearn_checkpoints_total", 3, outcome="written")
        filler = fill(disk)
        stack.wait_for(alert, group)

        desk = seat(learner, stack, state)
        outcomes = desk.answer(alert, "Diagnosis 2")
        assert values(outcomes, 'outcome="failed"')[0] > 0
        assert "No space left on device" in learner.stderr()  # step 4
        room = desk.answer(alert, "Diagnosis 4")
        assert f"100% {disk}" in room  # A: first what is not the learner's
        filler.unlink()
        stack.wait_until_over(alert, group)
        written = learner.metric("streamlearn_checkpoints_total", outcome="written")
        learner.wait_for("streamlearn_checkpoints_total", written + 1, outcome="written")
        assert values(desk.answer(alert, "Mitigation"), 'outcome="written"')[0] > 0


def test_a_producer_floods_the_topic_with_what_is_no_event(
    config: Config, group: str, start_learner: Start, watch: Watch, seat: Seat
) -> None:
    learner = start_learner()
    learner.wait_for("streamlearn_active", 1)
    stack = watch(learner, factor=FACTOR)
    alert = "StreamlearnDeadLetterRateHigh"
    with flowing(config, mistaken(count()), each=30):
        stack.wait_for(alert, group)

        desk = seat(learner, stack)
        reasons = desk.answer(alert, "Diagnosis 2")
        assert values(reasons, 'reason="missing_field"')[0] > 10
        assert len(values(reasons)) == 1  # step 4, after the source
        letters = desk.answer(alert, "Diagnosis 3")
        assert "streamlearn.reason:missing_field,streamlearn.detail:text,streamlearn.topic:" in letters
        assert '"text": "text"' in desk.answer(alert, "Diagnosis 4")  # as was agreed: A, the producer

    with flowing(config, map(themed, count()), each=30):
        stack.wait_until_over(alert, group)
        assert max(values(desk.answer(alert, "Mitigation"))) < 0.05


def mistaken(numbers: Iterable[int]) -> Iterator[bytes]:
    """Yield events, every second one as a producer writes it that calls the text by another name."""
    for number in numbers:
        yield themed(number).replace(b'"text"', b'"body"') if number % 2 else themed(number)


def test_the_stream_drifts(config: Config, group: str, start_learner: Start, watch: Watch, seat: Seat) -> None:
    alone = "updater.experts=[transformer]"  # the others would have followed before anybody looked
    learner = start_learner(alone)
    send(config, map(themed, range(2 * TRAINED)))
    learner.wait_for("streamlearn_publishes_total", 2, outcome="published")
    learner.terminate()
    learner = start_learner(alone, "updater.learning_rate=1e-6", port=learner.port)  # it will hardly follow a drift
    learner.wait_for("streamlearn_active", 1)
    stack = watch(learner, factor=FACTOR)
    desk = seat(learner, stack)
    alert = "StreamlearnDriftDetected"
    with flowing(config, map(themed, count(2 * TRAINED))):
        wait_until(lambda: bool(values(desk.answer(alert, "Mitigation"))), "the accuracy is recorded")
        (before,) = values(desk.answer(alert, "Mitigation"))
    with flowing(config, map(renewed, count(10 * TRAINED)), each=30):
        stack.wait_for(alert, group)

        lately = [values(desk.answer(alert, "Diagnosis 2"), f'detector="{signal}"')[0] > 0 for signal in DETECTORS]
        (signal, *_) = compress(DETECTORS, lately)
        assert f"drift: the mean of the {signal} has risen, detected at {group}/0/" in learner.stderr()  # step 3
        (now, *_) = values(desk.answer(alert, "Diagnosis 3"))
        assert now < before - 0.02  # step 4
        assert min(values(desk.answer(alert, "Diagnosis 4"))) > now + 0.1  # the hold-out holds: step 5
        assert "'label-0'" in desk.answer(alert, "Diagnosis 5")  # no new label, no new reason; the world has changed: B

        assert learner.terminate() == 0
        start_learner(alone, "updater.learning_rate=0.003", port=learner.port)
        wait_until(lambda: max(values(desk.answer(alert, "Mitigation")), default=0) > before - 0.02, "adapted")
        stack.wait_until_over(alert, group)


def test_the_loss_of_a_text_is_not_finite(
    config: Config, group: str, overflowing_model: Path, start_learner: Start, watch: Watch, seat: Seat
) -> None:
    settings = f"updater.model={overflowing_model}", "events.holdout_ratio=0"
    learner = start_learner(*settings)
    learner.wait_for("streamlearn_active", 1)
    stack = watch(learner, factor=FACTOR)
    alert = "StreamlearnLossNotFinite"
    harmless = (value for value in map(themed, count()) if OVERFLOWING.encode() not in value)
    with flowing(config, harmless):
        learner.wait_for("streamlearn_steps_total", 20)
        send(config, [event(10**6, text=f"late {OVERFLOWING} refund")])
        stack.wait_for(alert, group)

        desk = seat(learner, stack, *settings)
        refused, steps, steps_lately = values(desk.answer(alert, "Diagnosis 2"))
        assert refused > 0
        assert min(steps, steps_lately) > 0  # it still learns: step 3
        norms_and_losses = values(desk.answer(alert, "Diagnosis 3"))
        assert max(norms_and_losses) < 100  # like those of before: step 5
        letters = desk.answer(alert, "Diagnosis 5")
        assert letters.count("streamlearn.reason:not_finite") == 1  # the guilty one alone: A, nothing to do
        assert "events learnt, refused as dead letters: 1 not_finite" in learner.stderr()

        stack.wait_until_over(alert, group)
        assert values(desk.answer(alert, "Mitigation"))[-1] > 0  # steps a second


def test_the_transformer_goes_astray(
    config: Config, group: str, start_learner: Start, watch: Watch, seat: Seat
) -> None:
    learner = start_learner()
    stack = watch(learner, factor=FACTOR)
    alert = "StreamlearnExpertDropped"
    with flowing(config, map(themed, count()), each=30):
        learner.wait_for("streamlearn_steps_total", 20)
        assert learner.terminate() == 0
        learner = start_learner("updater.learning_rate=1e30", port=learner.port)
        stack.wait_for(alert, group)

        desk = seat(learner, stack)

        def left_out() -> float:
            return max(values(desk.answer(alert, "Mitigation"), 'expert="transformer"'), default=1.0)

        dropped = desk.answer(alert, "Diagnosis 2")
        assert values(dropped, 'expert="transformer"', 'reason="not_finite"')[0] > 0
        (now, *_) = values(desk.answer(alert, "Diagnosis 3"))
        assert now > 0.5  # the others predict on: step 4
        losses = values(desk.answer(alert, "Diagnosis 4"), 'expert="softmax"')
        assert losses[0] < 1.1  # below guessing among three, and the reason is not_finite: step 5
        assert "'transformer' is left out of the mixture: it is not finite any more" in learner.stderr()  # long ago: A

        assert learner.terminate() == 0
        learner = start_learner(port=learner.port)
        back = "the expert 'transformer' is back in the mixture"
        wait_until(lambda: back in learner.stderr(), back, seconds=150)  # it learns from nothing again
        wait_until(lambda: left_out() < 0.1, "no step is without it", seconds=120)
        stack.wait_until_over(alert, group)


def test_the_active_one_of_two_is_killed(
    config: Config, group: str, start_learner: Start, watch: Watch, seat: Seat
) -> None:
    learners = [start_learner(), start_learner()]
    wait_until(lambda: sum(learner.metric("streamlearn_active") for learner in learners) == 1, "one is active")
    stack = watch(*learners, factor=10)  # the group waits ten seconds for the killed one, in any world
    standby, active = sorted(learners, key=lambda learner: learner.metric("streamlearn_active"))
    alert = "StreamlearnTargetDown"
    with flowing(config, map(themed, count())):
        active.wait_for("streamlearn_steps_total", 20)
        active.kill()
        stack.wait_for(alert, group)

        desk = seat(standby, stack)
        assert "connection refused" in desk.answer(alert, "Diagnosis 2")  # step 3
        assert active.process.poll() == -9  # 137 for a shell: B of NoActiveLearner, for whoever killed it
        assert "streamlearn_active" in desk.answer("README", "Who is active")
        assert standby.metric("streamlearn_active") == 1
        steps = standby.metric("streamlearn_steps_total")
        standby.wait_for("streamlearn_steps_total", steps + 10)

        start_learner(port=active.port)
        stack.wait_until_over(alert, group)
        assert values(desk.answer(alert, "Mitigation")) == []
    fired = stack.query('count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[10m]))')
    assert {sample["metric"]["alertname"] for sample in fired} == {alert}
